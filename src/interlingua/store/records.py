"""What goes into the store and comes out of it: plain records, checked so that both databases hold the same."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from interlingua.errors import DataError, identifier, shown, whole_text


@dataclass(frozen=True)
class Item:
    """One item of the catalogue."""

    item_id: str
    title: str | None = None
    description: str | None = None
    categories: str | None = None
    """``Comedy|Drama``, as in a catalogue's file"""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """any further columns, e.g. ``{"price": 19.5, "sold_out": False}``; values are JSON"""
    available: bool = True
    """False: known, but does not come out"""
    deleted: bool = False
    """only in answers about changes: it is gone"""
    revision: int = 0
    """of the store's items when it last changed; set by the store"""
    whole: bool = False
    """it was deleted and added again: what a run's own data say of it does not count; set by the store"""


@dataclass(frozen=True)
class Event:
    """A user had an item."""

    user_id: str
    item_id: str
    time: float | None = None
    """seconds since 1970, UTC; None: when it reaches the store"""
    value: float | None = None
    """what the user said of it: a rating, or 1 and 0"""
    number: int = 0
    """place in the order of arrival, from 1; set by the store"""


class EventColumns(NamedTuple):
    """Many events, column by column, in the order of arrival."""

    user_id: list[str]
    item_id: list[str]
    time: list[float]
    value: list[float | None]
    number: list[int]


@dataclass(frozen=True)
class User:
    """What is known of a user beside events."""

    user_id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """e.g. ``{"profile": "likes slow science fiction"}``; values are JSON"""


@dataclass(frozen=True)
class ModelVersion:
    """A trained run that the service knows."""

    version: str
    """the run's key, see ``Recommender.version``"""
    path: str
    """folder of the run; empty: it was deleted (``interlingua versions --prune``)"""
    metrics: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    """where it came from, or why it was refused"""
    made: float | None = None
    """seconds since 1970; None: now"""
    events: int = 0
    """number of the newest event of the store that it was trained with; 0: none"""


@dataclass(frozen=True)
class Promotion:
    """A version began to serve."""

    number: int
    """place in the order of promotions and rollbacks, from 1"""
    version: str
    time: float
    """seconds since 1970"""
    back: int | None = None
    """number of the promotion that it went back to; None: it is a promotion (see :mod:`interlingua.store.steps`)"""


@dataclass(frozen=True)
class Logged:
    """A request that was answered."""

    version: str
    """of the model that answered"""
    user_id: str | None
    request: Mapping[str, Any]
    """what was asked for, as over HTTP"""
    items: tuple[str, ...]
    """item ids of the answer, best first"""
    latency_ms: float
    time: float | None = None
    """seconds since 1970; None: now"""
    number: int = 0
    """place in the order of arrival, from 1; set by the store"""


def checked(records: Iterable[Any]) -> list[dict[str, Any]]:
    """Records as columns, after a look at every value.

    Raises:
        DataError: an empty or overlong id, a text that no database holds, a number that is not finite, or a value
            that is no JSON.
    """
    return [{name: _value(f"{type(one).__name__}.{name}", value) for name, value in _columns(one)} for one in records]


def digest(events: Iterable[Mapping[str, Any]]) -> str:
    """Hash of a batch as it was given: the same key with another batch is refused by it."""
    text = json.dumps([dict(event) for event in events], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _columns(record: Any) -> list[tuple[str, Any]]:
    found = asdict(record)
    for name in ("revision", "number", "deleted", "whole"):
        found.pop(name, None)
    return list(found.items())


def _value(what: str, value: Any) -> Any:
    if what.endswith((".user_id", ".item_id", ".version")):
        optional = what == "Logged.user_id" and value is None
        return None if optional else identifier(value, what)
    if what.endswith((".time", ".value", ".made", ".latency_ms")):
        return None if value is None else _finite(what, value)
    if what.endswith((".available", ".events")):
        kind = bool if what.endswith(".available") else int
        if type(value) is not kind:
            raise DataError(f"{what} is {shown(value)}; give {'True or False' if kind is bool else 'a whole number'}")
        return value
    if isinstance(value, str) or value is None:
        return value if value is None else whole_text(what, value)
    return _json(what, value)


def _finite(what: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{what} is {shown(value)}; give a finite number")
    return float(value)


def _json(what: str, value: Any) -> Any:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} is {shown(value)}, which is no JSON ({error})") from None
    if "\\u0000" in text:
        raise DataError(f"{what} is {shown(value)}: it holds the character NUL, which no database takes")
    whole_text(what, text)
    return json.loads(text)
