"""Names runs by the options in which they differ: ``sasrec (embedding_dim=32)``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

Resolved = Mapping[str, Any]
"""a recipe's sections with every option, as a run's card holds them"""

COMPONENTS = ("backbone", "text", "align", "ranker", "fuse")
"""sections whose ``name`` chooses a component, and so the meaning of the other options"""
LONGEST = 40
"""longest value in a name, in characters"""
ABSENT = object()


def by_path(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"filter": {"min_user": 5}}`` -> ``{"filter.min_user": 5}``."""
    out: dict[str, Any] = {}
    for key, value in table.items():
        out |= by_path(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return out


def differences(recipes: Sequence[Resolved], *, absent: bool = False) -> list[tuple[str, ...]]:
    """For each recipe, ``option=value`` for every option in which the recipes differ.

    If a section's component differs, it is named, and options are compared only among recipes with the same component.

    Args:
        recipes: resolved recipes.
        absent: also name missing sections: ``no text``.
    """
    found: list[list[tuple[str, str]]] = [[] for _ in recipes]
    sections = dict.fromkeys(section for recipe in recipes for section in recipe)
    for section in sections:
        tables = [recipe.get(section) for recipe in recipes]
        names = [_component(section, table) for table in tables]
        if len(set(map(str, names))) > 1:
            for words, name in zip(found, names, strict=True):
                if name is not None or absent:
                    words.append((section, f"no {section}" if name is None else f"{section}={value_words(name)}"))
        for name in dict.fromkeys(map(str, names)):
            indices = [n for n, other in enumerate(names) if str(other) == name]
            for row, option in _options(section, indices, [tables[n] for n in indices]):
                found[row].append(option)
    return [_shortened(words, found) for words in found]


def _component(section: str, table: Any) -> str | None:
    """The component's name; the same value for all in a section without components."""
    if not isinstance(table, Mapping):
        return None
    return str(table.get("name")) if section in COMPONENTS else section


def _options(section: str, indices: Sequence[int], tables: Sequence[Any]) -> Iterable[tuple[int, tuple[str, str]]]:
    """(row, (path, words)) of every option that differs among the tables of one component."""
    flat = [{} if table is None else by_path({section: table}) for table in tables]
    for path in dict.fromkeys(path for each in flat for path in each):
        values = [each.get(path, ABSENT) for each in flat]
        if any(value != values[0] for value in values[1:]):
            for row, value in zip(indices, values, strict=True):
                if value is not ABSENT:
                    yield row, (path, f"={value_words(value)}")


def _shortened(words: Sequence[tuple[str, str]], everything: Sequence[Sequence[tuple[str, str]]]) -> tuple[str, ...]:
    """Paths shortened to their last part, if no other differing path has the same one."""
    paths = {path for each in everything for path, text in each if text.startswith("=")}
    last = [path.rsplit(".", 1)[-1] for path in paths]
    out = []
    for path, text in words:
        short = path.rsplit(".", 1)[-1]
        alone = last.count(short) == 1 and path != "data.name"
        out.append(text if not text.startswith("=") else f"{short if alone else path}{text}")
    return tuple(out)


def value_words(value: Any) -> str:
    """An option's value in a name: ``none``, ``a+b``, a path by its last part."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "+".join(value_words(each) for each in value) or "nothing"
    if isinstance(value, float):
        return f"{value:g}"
    text = " ".join(str(value).split())
    if len(text) > LONGEST and len(PurePath(text).parts) > 1:
        text = PurePath(text).name
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def labels(names: Sequence[str], recipes: Sequence[Resolved], keys: Sequence[str]) -> list[str]:
    """A name for each method: the recipe's name, and what differs if several methods share it.

    Args:
        names: of the recipes.
        recipes: resolved.
        keys: distinguish methods whose recipes are equal.
    """
    out = list(names)
    for name in dict.fromkeys(names):
        indices = [n for n, other in enumerate(names) if other == name]
        if len(indices) == 1:
            continue
        words = [", ".join(each) for each in differences([recipes[n] for n in indices], absent=True)]
        for n, text in zip(indices, words, strict=True):
            alone = bool(text) and words.count(text) == 1
            out[n] = f"{name} ({text})" if alone else f"{name} ({text + '; ' if text else ''}{keys[n]})"
    return out
