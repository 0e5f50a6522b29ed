"""A recipe and a stage's card without paths of the machine on which they were made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from interlingua.errors import ArtifactError
from interlingua.runs.recipe import Recipe
from interlingua.runs.section import Section
from interlingua.storage import artifact

OF_THE_SOURCE = ("options", "columns", "reader", "clean")
"""options of [data] for reading a source, which a saved model does not do"""
TEMPLATES = "templates"
"""folder in a stage for templates that do not ship with us: ``OPTION.txt``"""
INSIDE = "inside:"
"""prefix of a file in the saved model's own folder"""


def is_place(text: str) -> bool:
    """Whether a text names a file or folder of this machine, rather than something on the hub or among ours."""
    if "\n" in text or len(text) > 4096:
        return False
    rooted = PurePosixPath(text).is_absolute() or bool(PureWindowsPath(text).drive) or text.startswith(("~", "."))
    return ("/" in text or os.sep in text) and (rooted or os.path.lexists(text))


def name_of(text: str) -> str:
    """The last part of a path."""
    return PureWindowsPath(text).name or text


def without_places(value: Any) -> Any:
    """Nested plain values with every path cut to its last part."""
    if isinstance(value, str):
        return name_of(value) if is_place(value) else value
    if isinstance(value, Mapping):
        return {key: without_places(inner) for key, inner in value.items()}
    return [without_places(inner) for inner in value] if isinstance(value, list | tuple) else value


def recipe_to_save(recipe: Recipe, inside: Mapping[Path, str] | None = None) -> dict[str, Any]:
    """Every option of every section, valid on any machine.

    Args:
        recipe: as it was run.
        inside: template -> where it lies in the saved model's folder.
    """
    inside = inside or {}
    out = recipe.resolved()
    out["data"] = without_places({k: v for k, v in out["data"].items() if k not in OF_THE_SOURCE})
    for part in (recipe.backbone, recipe.text, recipe.align, recipe.ranker):
        if part is not None:
            out[part.kind] |= options_to_save(part, inside)
    for name, part in recipe.texts.items():
        out["texts"][name] |= options_to_save(part, inside)
    if recipe.fuse is not None:
        out["fuse"] |= options_to_save(recipe.fuse, inside)
        for table, member in zip(out["fuse"]["members"], recipe.members, strict=True):
            own = recipe_to_save(member, inside)
            table |= {section: own[section] for section in table if section in own}
    return out


def options_to_save(part: Section, inside: Mapping[Path, str]) -> dict[str, Any]:
    """A component's options without what training began with; a model in a folder is ``./NAME``, paths are names."""
    declared, options = type(part.config), part.options()
    for name, value in options.items():
        if name in declared.begins_with:
            options[name] = None
        elif name in declared.named_models and isinstance(value, str) and is_model_here(value):
            options[name] = model_name(value)
    named = {name: options[name] for name in declared.named_models if name in options}
    named |= {name: INSIDE + inside[path] for name, path in templates_of(part).items() if path in inside}
    return without_places(options) | named


def is_model_here(reference: str) -> bool:
    """Whether a model is given by its path on this machine."""
    return is_place(reference) or Path(reference).expanduser().exists()


def model_name(reference: str) -> str:
    """The name of a model in a folder: it is looked for in the working folder, never on the hub."""
    return f"./{name_of(reference)}"


def templates_of(part: Section) -> dict[str, Path]:
    """Option -> file, of templates that do not ship with us."""
    given = {name: part.options().get(name) for name in type(part.config).named_templates}
    paths = {name: Path(value).expanduser() for name, value in given.items() if isinstance(value, str)}
    return {name: path for name, path in paths.items() if path.suffix == ".txt"}


def with_templates(values: Any, root: Path) -> Any:
    """A stored recipe whose templates are found in the saved model's folder ``root``.

    Raises:
        ArtifactError: a name leads out of that folder.
    """
    if isinstance(values, Mapping):
        return {key: with_templates(inner, root) for key, inner in values.items()}
    if isinstance(values, list):
        return [with_templates(inner, root) for inner in values]
    if not isinstance(values, str) or not values.startswith(INSIDE):
        return values
    place = values.removeprefix(INSIDE)
    if not artifact.inside(place):
        raise ArtifactError(f"{root} names {place!r}, which is outside its folder; it was not written by interlingua")
    return str(root / place)
