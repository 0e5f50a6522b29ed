"""Checks before anything runs: extras, models, files, data and disk for *all* stages of one or several recipes."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from interlingua.data.datasets import named
from interlingua.data.raw import Log
from interlingua.data.source import here, locate
from interlingua.errors import ConfigError, DataError
from interlingua.progress import long_step, task
from interlingua.runs.recipe import Recipe
from interlingua.runs.session import Session
from interlingua.runtime.missing import Missing, sentence
from interlingua.storage import artifact

ROOM = 200 * 2**20
"""bytes that must be free for weights, checkpoints and reports of small runs"""


def check(sessions: Sequence[Session]) -> None:
    """Refuses recipes that cannot finish on this machine; the message names everything that is missing.

    Models on this machine are loaded once, so that an unsuitable one is refused before the first training.

    Raises:
        ConfigError: something is missing, or a model cannot be used as its options say.
    """
    sessions = [each for session in sessions for each in (session, *_needed(session))]
    found = list(dict.fromkeys(lack for session in sessions for lack in lacking(session)))
    if found:
        raise ConfigError(sentence(found))
    used = [config for session in sessions for config in _used(session)]
    with task("looking at models", len(used)) as shown:
        for config in used:
            with long_step(shown, type(config).__name__):
                config.check_models()


def _needed(session: Session) -> list[Session]:
    """The members of ``[fuse]``; optional ones are left out where something is missing, see :mod:`.optional`."""
    return [each for each in session.members if each.recipe.name not in session.recipe.optional]


def lacking(session: Session) -> list[Missing]:
    """What the unfinished stages need and do not find."""
    recipe = session.recipe
    data = of_data(recipe.data.name)
    if data:  # without its data no stage has a key, so none is known to be finished
        return data + [
            lack for part in (recipe.text, recipe.ranker) if part is not None for lack in part.config.lacks()
        ]
    return [lack for part in _used(session) for lack in part.lacks()] + of_disk(session.root, _size(recipe))


def of_data(name: str) -> list[Missing]:
    """A dataset that is not on this machine and cannot be fetched."""
    known = named().get(name)
    if known is not None and (known.generated or known.download is not None):
        return []
    try:
        locate(name, Log(quiet=True))
    except DataError as error:
        return [Missing(f"the data {name!r}", get=str(error))]
    return []


def of_disk(folder: Path, bytes_needed: int) -> list[Missing]:
    """Room for what a run writes."""
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free >= bytes_needed + ROOM:
        return []
    return [
        Missing(
            f"room on the disk of {folder}: about {(bytes_needed + ROOM) / 2**20:,.0f} MB are needed, "
            f"{free / 2**20:,.0f} MB are free",
            get="free space or choose another folder with --out",
        )
    ]


def _size(recipe: Recipe) -> int:
    """Bytes of the prepared data and the vectors, estimated from the source's size."""
    place = here(recipe.data.name)
    if place is None:
        return 0
    files: Iterable[Path] = [place] if place.is_file() else place.iterdir()
    return 3 * sum(file.stat().st_size for file in files if file.is_file())


def _used(session: Session) -> list[Any]:
    """Options of the parts that an unfinished stage builds."""
    recipe, plan = session.recipe, session.plan
    open_stages = {
        kind for kind, stage in plan.items() if artifact.find(session.root, stage.kind, stage.name, stage.key) is None
    }
    parts = {"embed": recipe.text, "train": recipe.backbone, "align": recipe.align, "rank": recipe.ranker}
    parts |= {f"{name}.embed": part for name, part in recipe.texts.items()}
    used = [part for kind, part in parts.items() if part is not None and kind in open_stages]
    if "evaluate" in open_stages and recipe.ranker is not None and recipe.ranker not in used:
        used.append(recipe.ranker)
    if "embed" not in plan and recipe.text is not None and open_stages & {"align", "evaluate"}:
        used.append(recipe.text)
    return [part.config for part in used]
