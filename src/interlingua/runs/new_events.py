"""Events that came after training: they count in the next answer of their user. Nothing is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from interlingua.data.files.columns import EVENT_ROLES, rename
from interlingua.data.raw import Log
from interlingua.errors import DataError, shown
from interlingua.runs.answers import id_text
from interlingua.runs.bring_checks import lines_frame, table_of
from interlingua.runs.stores import StoreLike

if TYPE_CHECKING:
    from interlingua.data.prepared import Dataset
    from interlingua.store.records import Event

EXAMPLE = "{'user_id': 'ann', 'item_id': 'i9'}"
MOST_KEYS = 100_000
"""idempotency keys that are remembered without a store, the last ones"""


@dataclass(frozen=True)
class Happened:
    """A user had an item."""

    user_id: str
    item_id: str
    time: float | None = None
    """seconds since 1970"""
    value: float | None = None
    """a rating, or 1 and 0"""


class NewEvents:
    """The events of one run since its training, by user in the order of arrival."""

    def __init__(self, data: Dataset, store: StoreLike | None = None) -> None:
        self.store = store
        self.of_user: dict[str, list[Happened]] = {}
        self._keys: dict[str, str] = {}
        self._least = _least_liked(data)
        for each in [] if store is None else store.events():
            self._enter(Happened(each.user_id, each.item_id, each.time, each.value))

    def add(self, given: Any, key: str | None = None) -> int:
        """Enters a batch, all or nothing; returns how many were added (0: this key with this batch came before).

        Args:
            given: a frame, mappings of one event each, one mapping, or a file of a table: with ``user_id`` and
                ``item_id``, and ``timestamp`` or ``time`` and ``rating`` or ``value`` if they are known.
            key: of the batch.

        Raises:
            DataError: no table, an event without a user or an item, or the key of another batch.
        """
        events = _events_of(given)
        if self.store is not None:
            if not self.store.add_events([_record(each) for each in events], key):
                return 0
        elif not self._first(events, key):
            return 0
        for each in events:
            self._enter(each)
        return len(events)

    def liked(self, event: Happened) -> bool:
        """Whether a model may read the event as a liking: of unlabelled data every event."""
        return self._least is None or event.value is None or event.value >= self._least

    def _enter(self, event: Happened) -> None:
        self.of_user.setdefault(event.user_id, []).append(event)

    def _first(self, events: Sequence[Happened], key: str | None) -> bool:
        if key is None:
            return True
        said = hashlib.sha256(json.dumps([vars(each) for each in events]).encode()).hexdigest()
        before = self._keys.get(key)
        if before is not None and before != said:
            raise DataError(f"the idempotency key {shown(key)} came with another batch before; give this one its own")
        self._keys[key] = said
        if len(self._keys) > MOST_KEYS:
            del self._keys[next(iter(self._keys))]
        return before is None


def _least_liked(data: Dataset) -> float | None:
    """The value from which on an event is a liking, where the data tell liked from not liked; else None."""
    if data.interactions.labels is None:
        return None
    rule = data.card.get("label") or {}
    least = rule.get("at_least") if isinstance(rule, Mapping) else None
    return 1.0 if least is None else float(least)


def _record(event: Happened) -> Event:
    from interlingua.store.records import Event

    return Event(event.user_id, event.item_id, event.time, event.value)


def _events_of(given: Any) -> list[Happened]:
    frame = lines_frame(table_of(given, "interactions"), "event", EXAMPLE)
    frame, _ = rename(frame, EVENT_ROLES, {}, "events", Log(quiet=True))
    for column in ("user_id", "item_id"):
        if column not in frame.columns:
            raise DataError(f"events have no column {column} (they have {', '.join(frame.columns) or 'none'})")
    value = next((name for name in ("rating", "value", "label") if name in frame.columns), None)
    found = []
    for number, line in enumerate(frame.iter_rows(named=True), 1):
        ids = [line["user_id"], line["item_id"]]
        if any(each is None or id_text(each) == "" for each in ids):
            raise DataError(f"event {number} of {frame.height} has no {'user_id' if not ids[0] else 'item_id'}")
        numbers = [_number(line.get(name), name, number) for name in ("timestamp", value) if name is not None]
        found.append(Happened(id_text(ids[0]), id_text(ids[1]), *numbers))
    return found


def _number(value: Any, name: str, number: int) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"event {number}: {name} is {shown(value)}, and no number") from None
