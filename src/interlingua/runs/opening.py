"""Opening a finished run: checks trust, then every parent, then that everything it reads is unchanged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from interlingua.contracts.component import WARM_UP
from interlingua.contracts.fit_log import LOG_FILE
from interlingua.errors import ArtifactError
from interlingua.progress import say
from interlingua.runs.plan import VERSIONS, part_fingerprint, parts_of
from interlingua.runs.portable import with_templates
from interlingua.runs.recipe import Recipe, resolve
from interlingua.runs.saved import run_in
from interlingua.runs.section import Section
from interlingua.runs.session import Session
from interlingua.runs.trust import of_models, of_run, refuse
from interlingua.storage import artifact
from interlingua.storage.artifact import Artifact
from interlingua.storage.contents import hub_name_and_commit

READ_ONCE = "embed"
"""stage whose inputs a finished run does not read again: its vectors are in its folder"""


def open_session(
    path: Path | str, device: str = "auto", *, trust: bool = False, models: Mapping[str, str] | None = None
) -> Session:
    """A finished run, from the folder of its evaluate stage, with all its parents verified.

    Args:
        path: the folder, or a saved model's (:mod:`interlingua.runs.pretrained`).
        device: where models go.
        trust: it may import code, read environment variables and use the network, as its recipe says.
        models: name in the recipe -> where that language model lies here; its contents must be the same.

    Raises:
        ArtifactError: not a finished run; a parent is missing, damaged, edited or another; or a model, template or
            component is no longer what the run was made with.
        ConfigError: it needs something that only a trusted run may have.
    """
    path = run_in(Path(path))
    found = artifact.load(path)
    if found.kind != "evaluate":
        raise ArtifactError(f"{path} is a {found.kind!r} stage; a run is the folder that starts with 'evaluate-'")
    values = found.entry("recipe", dict)
    if not trust:
        refuse(str(path), of_run(values))
    _of_today(found)
    values = with_templates(values, found.path.parent)
    recipe = resolve(values, found.entry("name", str), str(path), stored=True)
    done = {stage: found.parent(stage) for stage in found.parents}
    if recipe.fuse is not None:
        done |= {parent: done["fuse"].parent(parent) for parent in done["fuse"].parents}
    for stage in done.values():
        for parent in stage.parents:
            stage.check_parent(parent, done.get(parent) or stage.parent(parent))
    recipe = _placed(_pinned(recipe, done), done, models or {})
    own = [(each, _of_member(done, number)) for number, each in enumerate(recipe.members, 1)]
    own = [(_placed(_pinned(each, stages), stages, models or {}), stages) for each, stages in own]
    recipe = replace(recipe, members=tuple(each for each, _ in own))
    if not trust:
        refuse(str(path), of_models(m[2] for each, stages in [(recipe, done), *own] for m in models_of(each, stages)))
    for each, stages in [(recipe, done), *own]:
        _check_unchanged(each, stages)
    session = Session(recipe, found.path.parent, found.entry("seed", int), device)
    session.done = done | {"evaluate": found}
    return session


def _of_today(run: Artifact) -> None:
    """Refuses a run whose stages have the names of an older layout: a part of it would be left out unseen."""
    for stage in run.parents:
        if stage.rsplit(".", 1)[-1] not in VERSIONS:
            raise ArtifactError(
                f"{run.path} has the stage {stage!r}, which an older interlingua wrote and this one does not read; run "
                f"its recipe again ({run.path / 'config.toml'}), or open it with the version in its card"
            )


def _of_member(done: dict[str, Artifact], number: int) -> dict[str, Artifact]:
    """Stages of a member of ``[fuse]``, which stand beside the run's own under ``NUMBER.STAGE``."""
    prefix = f"{number}."
    return {name.removeprefix(prefix): stage for name, stage in done.items() if name.startswith(prefix)}


def _stored(stage: Artifact, section: str) -> dict[str, str]:
    """The contents of a section according to the stage's card."""
    found = stage.entry("fingerprint", dict)
    return {str(k).removeprefix(f"{section}."): str(v) for k, v in found.items() if str(k).startswith(f"{section}.")}


def _pinned(recipe: Recipe, done: dict[str, Artifact]) -> Recipe:
    """The recipe with hub models at the commits with which the run was made."""
    for kind, stage in done.items():
        for section, part in parts_of(recipe, kind).items():
            for option, value in _stored(stage, section).items():
                hub = hub_name_and_commit(value) if option in type(part.config).named_models else None
                if hub is not None:
                    config = part.config.model_copy(update={"revision": hub[1]})
                    recipe = _with(recipe, section, replace(part, config=config))
    return recipe


def _placed(recipe: Recipe, done: dict[str, Artifact], models: Mapping[str, str]) -> Recipe:
    """The recipe with the places of its models on this machine."""
    for kind in done:
        for section, part in parts_of(recipe, kind).items():
            options = part.options()
            changed = {n: models[options[n]] for n in type(part.config).named_models if options.get(n) in models}
            if changed:
                recipe = _with(recipe, section, replace(part, config=part.config.model_copy(update=changed)))
    return recipe


def _with(recipe: Recipe, section: str, part: Section) -> Recipe:
    """The recipe with another component in a section, or in ``texts.NAME``."""
    table, _, name = section.partition(".")
    changed: dict[str, Any] = {table: {**recipe.texts, name: part} if name else part}
    return replace(recipe, **changed)


def models_of(recipe: Recipe, done: Mapping[str, Artifact]) -> list[tuple[str, str, str]]:
    """(option, name, identity) of the models that the run will read again."""
    return [
        (f"{section}.{option}", str(part.options().get(option)), value)
        for kind, stage in done.items()
        if kind.rsplit(".", 1)[-1] != READ_ONCE
        for section, part in parts_of(recipe, kind).items()
        for option, value in _stored(stage, section).items()
        if option in type(part.config).named_models
    ]


def _check_unchanged(recipe: Recipe, done: dict[str, Artifact]) -> None:
    """Compares every fingerprint with the present files.

    What the run reads again (models, templates, code) must be the same. Files that were read once, when a stage was
    made, may have changed or gone: the stage holds their result, and a change is reported.
    """
    problems = []
    for kind, stage in done.items():
        for section, part in parts_of(recipe, kind).items():
            then, now = _stored(stage, section), part_fingerprint(part)
            for option in sorted({*then, *now}):
                before, today = then.get(option), now.get(option)
                if before == today or (option == WARM_UP and _same_warm_up(stage, part)):
                    continue
                if kind.rsplit(".", 1)[-1] != READ_ONCE and option not in type(part.config).all_files():
                    problems.append(_words(section, option, part, before, today))
                elif today is not None and option != "version":
                    say(f"note: {section}.{option} has changed since {stage.path.name} was made; the run is as it was")
    if problems:
        raise ArtifactError(
            f"this run is not what it was: {'; '.join(problems)}. Put back what was there, or run the recipe again"
        )


def _same_warm_up(stage: Artifact, part: Section) -> bool:
    """Whether a warm-up that ended with the first epoch, or counted on as if it were full, had the same step sizes.

    Told by the steps of each epoch in the stage's log: where there was one epoch, or all were full, or none shorter
    than the warm-up.
    """
    training, log = part.config.training(), stage.path / LOG_FILE
    if training is None or not log.is_file():
        return False
    records = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    steps = [int(record["steps"]) for record in records if "steps" in record]
    full = all(count == training.steps_per_epoch for count in steps)
    return len(steps) == 1 or full or min(steps) >= training.warmup_steps


def _words(section: str, option: str, part: Section, before: str | None, today: str | None) -> str:
    if option == "version":
        return f"it was made by version {before} of {part.name!r}, and version {today} gives other numbers"
    if option == WARM_UP:
        return f"the warm-up of {part.name!r} ended with the first epoch; today it lasts fit.warmup_steps steps"
    if option == "code":
        return f"the source of {part.name!r} was edited"
    value = part.options().get(option, option)
    gone = today is None or today.startswith("missing")
    said = f"{section}.{option} = {value!r} {'is not here any more' if gone else 'holds something else now'}"
    if option not in type(part.config).named_models:
        return said
    return f"{said} (needed: {before}; say where that model lies: models={{{value!r}: FOLDER}})"
