"""Which stages a recipe needs, and their keys: options, seed, data, parents, and contents of what the options name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interlingua import registry
from interlingua.contracts.component import fingerprint
from interlingua.errors import ConfigError
from interlingua.runs.recipe import Recipe
from interlingua.runs.section import Section
from interlingua.storage import artifact
from interlingua.storage.contents import MISSING, hash_file, hash_path

VERSIONS = {"prepare": 1, "embed": 1, "train": 1, "align": 1, "rank": 1, "fuse": 1, "evaluate": 1}
"""stage -> raised when the same inputs give another result because of what stands in ``stages``, ``data`` or
``evaluate``; of a component itself speaks its own ``version``"""


@dataclass(frozen=True)
class Planned:
    """One stage of a recipe before it is run."""

    kind: str
    name: str
    key: str
    parents: tuple[str, ...]
    options: dict[str, Any]
    fingerprint: dict[str, str] = field(default_factory=dict)
    """hashes of what the options name, and versions: part of the key, and stored in the card"""

    @property
    def folder(self) -> str:
        """Folder name inside the runs folder."""
        return artifact.folder_name(self.kind, self.name, self.key)


def planned(
    kind: str, name: str, seed: int, options: dict[str, Any], parents: Mapping[str, str],
    contents: Mapping[str, str] | None = None,
) -> Planned:  # fmt: skip
    """One stage with its key.

    Args:
        kind: the stage.
        name: of what it makes.
        seed: of the run.
        options: plain values.
        parents: parent stage -> key.
        contents: see :attr:`Planned.fingerprint`.
    """
    found = {"stage": str(VERSIONS[kind]), **(contents or {})}
    parts = {"kind": kind, "options": options, "seed": seed, "parents": list(parents.values()), "fingerprint": found}
    return Planned(kind, name, artifact.content_key(parts), tuple(parents), options, found)


def make_plan(recipe: Recipe, seed: int, source: Mapping[str, str] | None = None) -> dict[str, Planned]:
    """Stage -> plan, with every key, in the order in which they run.

    ``source``: the data's fingerprint from the plan of another recipe; None: the data are read and hashed.
    """
    made: dict[str, Planned] = {}

    def add(kind: str, name: str, options: dict[str, Any], parents: tuple[str, ...], contents: Any = None) -> None:
        found = stage_fingerprint(recipe, kind) if contents is None else contents
        made[kind] = planned(kind, name, seed, options, {p: made[p].key for p in parents}, found)

    data = recipe.data.model_dump(mode="json")
    if source is None:
        source = source_fingerprint(recipe.data.name, recipe.data.options, recipe.data.reader)
    add("prepare", Path(str(recipe.data.name)).stem, data, (), source)
    if recipe.fuse is not None:
        parents = {
            f"{number}.{kind}": stage.key
            for number, member in enumerate(recipe.members, 1)
            for kind, stage in make_plan(member, seed, source).items()
            if kind != "evaluate"
        }
        found = stage_fingerprint(recipe, "fuse") | _reranked(recipe)
        made["fuse"] = planned("fuse", recipe.fuse.name, seed, recipe.fuse.options(), parents, found)
        add("evaluate", recipe.name, recipe.evaluate.model_dump(mode="json"), ("prepare", "fuse"))
        return made
    if recipe.text is not None and not is_trainable(recipe.text):
        add("embed", recipe.text.name, recipe.text.options(), ("prepare",))
    for name, part in recipe.texts.items():
        found = stage_fingerprint(recipe, f"{name}.embed")
        parents = {"prepare": made["prepare"].key}
        made[f"{name}.embed"] = planned("embed", part.name, seed, part.options(), parents, found)
    named = tuple(f"{name}.embed" for name in recipe.texts)
    backbone = recipe.backbone
    assert backbone is not None
    joint = recipe.align is not None and not recipe.frozen_backbone
    if not joint:
        needs = ("prepare", "embed") if backbone.cls.needs_text else ("prepare",)
        if backbone.cls.needs_text and "embed" not in made:
            raise ConfigError(f"backbone {backbone.name!r} needs a frozen text table: add a [text] section")
        reads = named if "texts" in backbone.cls.needs(backbone.config) else ()
        add("train", backbone.name, backbone.options(), (*needs, *reads))
    if recipe.align is not None:
        options = recipe.align.options() | {"frozen_backbone": recipe.frozen_backbone}
        options["text"] = None if recipe.text is None else recipe.text.options()
        if joint:
            options["backbone"] = backbone.options()
        add("align", recipe.align.name, options, ("prepare", *(p for p in ("embed", *named, "train") if p in made)))
    if recipe.ranker is not None:
        add("rank", recipe.ranker.name, recipe.ranker.options(), tuple(made))
    add("evaluate", recipe.name, recipe.evaluate.model_dump(mode="json"), tuple(made))
    return made


def _reranked(recipe: Recipe) -> dict[str, str]:
    """How many items the members' rankers order, where it is not the default: their scores depend on it."""
    count, usual = recipe.evaluate.retrieve, type(recipe.evaluate).model_fields["retrieve"].default
    orders = any(each.ranker is not None and not each.ranker.cls.ranks_catalogue for each in recipe.members)
    return {"evaluate.retrieve": str(count)} if orders and count != usual else {}


def parts_of(recipe: Recipe, kind: str) -> dict[str, Section]:
    """The components that make a stage: section -> component."""
    joint = recipe.align is not None and not recipe.frozen_backbone
    trains_text = recipe.text is not None and is_trainable(recipe.text)
    found = {
        "embed": (recipe.text,),
        "train": (recipe.backbone,),
        "align": (recipe.align, recipe.backbone if joint else None, recipe.text if trains_text else None),
        "rank": (recipe.ranker,),
        "fuse": (recipe.fuse,),
    }
    named, _, stage = kind.rpartition(".")
    if stage == "embed" and named in recipe.texts:
        return {f"texts.{named}": recipe.texts[named]}
    return {part.kind: part for part in found.get(kind, ()) if part is not None}


def stage_fingerprint(recipe: Recipe, kind: str) -> dict[str, str]:
    """``section.option`` -> contents, of all components of a stage."""
    return {
        f"{section}.{name}": found
        for section, part in parts_of(recipe, kind).items()
        for name, found in part_fingerprint(part).items()
    }


def part_fingerprint(part: Section) -> dict[str, str]:
    """See :func:`interlingua.contracts.component.fingerprint`."""
    found: dict[str, str] = part.cls.fingerprint(part.config)
    return found


def check_present(plan: Mapping[str, Planned]) -> None:
    """Refuses a plan with a model that is not on this machine, before anything runs.

    Raises:
        ConfigError: every such model in one message.
    """
    gone = {
        name: found.removeprefix(MISSING)
        for stage in plan.values()
        for name, found in stage.fingerprint.items()
        if found.startswith(MISSING)
    }
    if gone:
        listed = "; ".join(f"{name}: {why}" for name, why in gone.items())
        raise ConfigError(f"{listed}. Give a folder, or connect to the network once so that it can be downloaded")


def is_trainable(text: Section) -> bool:
    """Whether the text encoder learns along with an aligner, so that it has no stage of its own."""
    return "text.table" not in text.cls.makes(text.config)


def source_fingerprint(name: str, options: Mapping[str, Any], reader: str | None = None) -> dict[str, str]:
    """File name -> sha256 of a dataset's source, so that changed files make a new prepare stage.

    Folders count with all that is below them. Files and folders that the reader's options name (``items =
    "catalogue.csv"``, also inside tables and lists) stand under ``options.items`` and so on.
    """
    from interlingua.data.datasets import named
    from interlingua.data.raw import Log
    from interlingua.data.source import locate, recognise

    known = named().get(name)
    if known is not None and known.generated:
        chosen = reader or known.reader or name
        return {"reader": _version(registry.find("data", chosen))}
    path = locate(name, Log(quiet=True))
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if _counts(p, path))
    out = {p.name if p == path else p.relative_to(path).as_posix(): hash_file(p) for p in files}
    files_named = {f"options.{key}": hash_path(Path(value)) for key, value in _texts(options, "")}
    out |= {key: found for key, found in files_named.items() if found is not None}
    try:
        chosen = reader or (known.reader if known else None) or recognise(path)
    except Exception:  # the stage itself says what is wrong with the source
        return out
    return out | {"reader": _version(registry.find("data", chosen))}


def _version(cls: Any) -> str:
    return "; ".join(f"{name} {found}" for name, found in fingerprint(cls, None).items())


def _counts(path: Path, root: Path) -> bool:
    return path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text in nested options, with where it stands; ``~`` is the home folder."""
    if isinstance(value, str):
        yield path, os.path.expanduser(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{path}.{number}" if path else str(number))
