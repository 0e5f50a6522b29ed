"""A field of a body that is not read, in words: which one, where it stands, and which there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel

from interlingua.errors import unknown


def unknown_field(endpoint: Callable[..., Any], place: Sequence[str | int]) -> str:
    """What is wrong with an unknown field.

    Args:
        endpoint: the function of the route, with the model of the body among its arguments.
        place: ``body``, then keys and indices, the unknown field last.
    """
    *path, name = place
    owner = _model_at(_models(tuple(get_type_hints(endpoint).values())), path[1:])
    where = "the body" + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in path[1:])
    return unknown("field", name, [] if owner is None else owner.model_fields, where)


def _model_at(models: Iterator[type[BaseModel]], path: Sequence[str | int]) -> type[BaseModel] | None:
    """The model of the object at a path, from those that the whole may be."""
    found = next(models, None)
    for key in path:
        field = None if found is None or isinstance(key, int) else found.model_fields.get(key)
        if field is not None:
            found = next(_models((field.annotation,)), None)
    return found


def _models(kinds: Sequence[Any]) -> Iterator[type[BaseModel]]:
    """The models in some types, also inside lists and unions."""
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield kind
        else:
            yield from _models(get_args(kind))
