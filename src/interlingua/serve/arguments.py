"""What is wrong with an assistant's arguments, in words: which one, its value, what to give instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from interlingua.errors import shown

KINDS = {
    "int": "a whole number", "float": "a number", "string": "a text", "list": "a list", "bool": "true or false",
    "dict": "an object", "finite": "a finite number",
}  # fmt: skip
"""pydantic's word for a type, of which the names of its problems begin -> ours"""


def in_words(tool: str, error: ValidationError) -> str:
    """Every problem of one call, a line each."""
    return "\n".join(f"{tool}: {_problem(each)}" for each in error.errors())


def _problem(problem: Mapping[str, Any]) -> str:
    name, *places = problem["loc"] or ("its arguments",)
    place = "".join(f", place {each + 1}" for each in places if str(each).isdigit())
    kind, bounds = str(problem["type"]), problem.get("ctx", {})
    if kind == "missing":
        return f"the argument {name!r} is missing; give it"
    return f"{name}{place} is {shown(problem.get('input'))}; {_instead(kind, bounds, str(problem['msg']))}"


def _instead(kind: str, bounds: Mapping[str, Any], said: str) -> str:
    """What to give; ``said``: pydantic's words, of a problem that has none here."""
    match kind:
        case "greater_than_equal":
            return f"give at least {bounds['ge']}"
        case "less_than_equal":
            return f"give at most {bounds['le']}"
        case "string_too_short":
            return f"give a text of at least {bounds['min_length']} character"
        case "string_too_long":
            return f"give a text of at most {bounds['max_length']:,} characters"
    expected = KINDS.get(kind.partition("_")[0])
    return f"give {expected}" if expected is not None else said
