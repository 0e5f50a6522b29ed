"""A finished run as one folder that opens anywhere: its stages are copied in order, each with a card of its own.

Left out are logs, paths of this machine and every user's results; without ``events`` also the events, the users' ids
and what was learned about each user (:mod:`interlingua.runs.left_out`). A copy gets a new key, made from the old one
and from what was left out, so that it is never taken for the original stage.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from interlingua.data.anonymous import has_users, to_give_away
from interlingua.data.prepared import Dataset
from interlingua.data.prepared import save as save_dataset
from interlingua.errors import ConfigError
from interlingua.runs import left_out
from interlingua.runs.model_card import front_page, needs_of
from interlingua.runs.neighbours import write_nearest
from interlingua.runs.plan import parts_of
from interlingua.runs.portable import TEMPLATES, recipe_to_save, templates_of, without_places
from interlingua.runs.saved import CONFIG, FORMAT, LIBRARY, README, check_target, put
from interlingua.runs.section import Section
from interlingua.runs.session import USER_SCALE, Session
from interlingua.storage import artifact
from interlingua.storage.artifact import Artifact, content_key
from interlingua.storage.durable import disk
from interlingua.storage.staging import staging
from interlingua.vectors.frozen import ENCODER
from interlingua.vectors.tables import load_tables, save_tables, save_tensors, shapes

WEIGHTS, VECTORS, METRICS, ADAPTERS = "weights.safetensors", "vectors.safetensors", "metrics.json", "adapters"
MADE_ANEW = ("schema", "kind", "name", "key", "parents", "files", artifact.CARD_HASH)
"""entries of a card that are made anew for the copy"""


@dataclass
class Saving:
    """One run that is being written into a folder."""

    session: Session
    root: Path
    """where its stages are written"""
    events: bool
    """whether users and their events are included"""
    made: dict[Path, Artifact] = field(default_factory=dict)
    """stage's folder -> its copy"""
    templates: dict[Path, str] = field(default_factory=dict)
    """template that does not ship with the package -> its place in the saved folder"""

    def copy(self, name: str) -> Artifact:
        """Copies a stage of the run, after its parents."""
        stage = self.session.done[name]
        if stage.path in self.made:
            return self.made[stage.path]
        owner, kind = self._owner(name)
        before = name[: len(name) - len(kind)]
        parents = {each: self.copy(before + each) for each in stage.parents}
        key = content_key({"saved": stage.key, "events": self.events, "format": FORMAT})
        fields = without_places({k: v for k, v in stage.card.items() if k not in MADE_ANEW}) | {"saved_from": stage.key}
        writing = artifact.writing(
            self.root, stage.kind, str(stage.card["name"]), key, parents=parents, fields=fields
        )  # fmt: skip
        with writing as folder:
            place = artifact.folder_name(stage.kind, str(stage.card["name"]), key)
            fields |= self._fill(folder, stage, owner, kind, place)
        found = artifact.find(self.root, stage.kind, str(stage.card["name"]), key)
        assert found is not None
        self.made[stage.path] = found
        return found

    def _owner(self, name: str) -> tuple[Session, str]:
        """The session that a stage belongs to, and its name there: ``2.train`` is the second member's."""
        number, _, rest = name.partition(".")
        members = self.session.members
        return (members[int(number) - 1], rest) if number.isdigit() and members else (self.session, name)

    def _fill(self, folder: Path, stage: Artifact, owner: Session, kind: str, place: str) -> dict[str, Any]:
        """Writes the files that opening the copy needs; returns entries for the card."""
        if stage.kind == "prepare":
            data = self._data(owner)
            save_dataset(data, folder / "dataset")
            return {
                "data_fingerprint": data.fingerprint,
                "fingerprint": {},
                "config": recipe_to_save(owner.recipe)["data"],
            }
        if stage.kind == "evaluate":
            shutil.copyfile(stage.path / METRICS, folder / METRICS)
            if not self.events:
                write_nearest(owner, folder)
            return {"recipe": recipe_to_save(owner.recipe, self.templates), "saved_with_events": self.events}
        found: dict[str, Any] = {}
        if (stage.path / WEIGHTS).is_file():
            state = load_file(stage.path / WEIGHTS)
            state = state if self.events else left_out.without_users(state, stage.kind, owner)
            save_tensors(state, folder / WEIGHTS)
        if (stage.path / VECTORS).is_file():
            found |= self._vectors(folder, stage, owner)
        for part in parts_of(owner.recipe, kind).values():
            self._templates(folder, part, place)
        if (stage.path / ENCODER).is_dir():
            shutil.copytree(stage.path / ENCODER, folder / ENCODER)
        if (stage.path / ADAPTERS).is_dir():
            _adapters(stage.path / ADAPTERS, folder / ADAPTERS)
        if stage.kind == "rank" and not self.events:
            found |= {USER_SCALE: left_out.scale_of_users(owner)}
        return found

    def _templates(self, folder: Path, part: Section, place: str) -> None:
        """Copies a component's own templates into its stage; ``place`` is the stage's name in the copy."""
        for option, path in templates_of(part).items():
            (folder / TEMPLATES).mkdir(exist_ok=True)
            shutil.copyfile(path, folder / TEMPLATES / f"{option}.txt")
            self.templates[path] = f"{place}/{TEMPLATES}/{option}.txt"

    def _data(self, owner: Session) -> Dataset:
        data: Dataset = owner.data if self.events else to_give_away(owner.data)
        return replace(data, card=without_places(data.card), source=None)

    def _vectors(self, folder: Path, stage: Artifact, owner: Session) -> dict[str, Any]:
        found = load_tables(stage.path).named()
        tables = {name: table for name, table in found.items() if self.events or name != "users"}
        save_tables(folder, tables, owner.data.split.train)
        return {"shapes": shapes(tables)}


def _adapters(source: Path, folder: Path) -> None:
    """LoRA adapters in peft's layout, without the place of the model that they belong to."""
    folder.mkdir()
    for path in sorted(source.iterdir()):
        if path.suffix == ".json":
            values = without_places(json.loads(path.read_text(encoding="utf-8")))
            (folder / path.name).write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        elif path.suffix == ".safetensors":
            shutil.copyfile(path, folder / path.name)


def save(
    session: Session,
    folder: Path | str,
    *,
    events: bool = False,
    overwrite: bool = False,
    license: str | None = None,
    name: str | None = None,
) -> Path:
    """Writes a finished run as a self-contained folder; completely or not at all.

    Args:
        session: the run.
        folder: new, empty, or (``overwrite``) a saved model.
        events: whether to include the users, their events and vectors; without them the model answers histories only.
        overwrite: whether an existing saved model may be replaced.
        license: of the model, for its page, e.g. ``mit``.
        name: of the model, for its page; None: the folder's.

    Returns:
        The folder.

    Raises:
        ConfigError: the folder holds something else, or the run cannot score without its users' events.
        ArtifactError: a stage was changed, or the folder cannot be written.
    """
    folder = Path(folder)
    check_target(folder, overwrite)
    _check(session, events)
    whole = folder.absolute()
    with disk(folder), staging(whole.parent, whole.name) as temporary:
        made = Saving(session, temporary, events).copy("evaluate")
        config = {
            "library_name": LIBRARY, "format": FORMAT, "run": made.path.name, "name": session.recipe.name,
            "events": events, "needs": needs_of(session), "version": artifact.versions().get(LIBRARY),
        }  # fmt: skip
        (temporary / CONFIG).write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        page = front_page(session, made, events=events, license=license, name=name or whole.name)
        (temporary / README).write_text(page, encoding="utf-8")
        put(temporary, folder)
    return folder


def _check(session: Session, events: bool) -> None:
    """Checks everything that forbids saving, before a byte is written."""
    if "evaluate" not in session.done:
        raise ConfigError("only a finished run is saved: interlingua.run(...) runs all stages")
    if not events:
        left_out.check(session)
    elif not has_users(session.data):
        raise ConfigError("this model was saved without users and events, so it has none: leave out events=True")
