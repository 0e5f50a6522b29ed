"""Events that came after training: they count in the next answer of their user. Nothing is trained."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Collection, Mapping, Sequence
from itertools import compress
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from interlingua.data.files.columns import EVENT_ROLES, rename
from interlingua.data.raw import Log
from interlingua.data.scale import scale_of
from interlingua.errors import DataError, StoreError, identifier, shown, unknown, without_blanks
from interlingua.progress import say
from interlingua.runs.answers import id_text
from interlingua.runs.bring_checks import lines_frame, table_of
from interlingua.runs.event_times import of_future, with_seconds
from interlingua.runs.on_record import on_record
from interlingua.runs.plain import finite, with_ids
from interlingua.runs.stores import StoreLike

if TYPE_CHECKING:
    from interlingua.data.prepared import Dataset
    from interlingua.store.records import Event

EXAMPLE = "{'user_id': 'ann', 'item_id': 'i9'}"
COLUMNS = ("user_id", "item_id", "timestamp", "rating", "value", "label")
"""of events, by role"""
NAMED = 5
"""unknown items that a note names"""
MOST_KEYS = 100_000
"""idempotency keys that are remembered without a store, the last ones"""
AT_ONCE = 100_000
"""events of a store that are read together"""
PAUSE_S = 30.0
"""for which a store that did not answer is left alone"""


class Happened(NamedTuple):
    """A user had an item."""

    user_id: str
    item_id: str
    time: float | None = None
    """seconds since 1970"""
    value: float | None = None
    """a rating, or 1 and 0"""
    number: int = 0
    """in the store; 0: without one"""


class Entered(NamedTuple):
    """What became of a batch."""

    added: int
    """0: the key came with this batch before"""
    unknown: list[str]
    """ids of items that the run does not know, each once"""
    notes: list[str]
    """what is to be known of the events, in words"""


class NewEvents:
    """The events of one run since its training, by user in the order of arrival.

    With a store they are read from there alone, so that memory has what the store has, whoever wrote it.
    """

    def __init__(self, data: Dataset, store: StoreLike | None = None, version: str = "") -> None:
        """``version``: of the run; the store may know up to which event it was trained (:class:`ModelVersion`)."""
        self.store = store
        self.of_user: dict[str, list[Happened]] = {}
        self._keys: dict[str, str] = {}
        ratings = data.interactions.ratings
        self.scale = scale_of(ratings, data.interactions.labels is not None)
        self._least = _least_liked(data)
        self._mean = None if ratings is None or not np.isfinite(ratings).any() else float(np.nanmean(ratings))
        self._data, self._reading, self._again = data, Lock(), 0.0
        self._last = 0
        """number of the newest event that was read"""
        self._trained, self._forgotten = 0, 0
        if store is not None:
            self._trained = max((model.events for model in store.models() if model.version == version), default=0)
            self._forgotten = int(store.counters()["forgotten"])
            self._read(store)

    def add(self, given: Any, key: str | None = None, known: Collection[str] = ()) -> Entered:
        """Enters a batch, all or nothing.

        Args:
            given: a frame, mappings of one event each, one mapping, or a file of a table: with ``user_id`` and
                ``item_id``, and ``timestamp`` or ``time`` and ``rating`` or ``value`` if they are known.
            key: of the batch.
            known: item ids of the run, with those that came since.

        Raises:
            DataError: no table, an event without a user or an item, an unknown column, a time that is none, a new id
                with blanks round it, a value off the scale of the run's data (:mod:`interlingua.data.scale`), or the
                key of another batch.
        """
        events, notes = _events_of(given)
        if not events:
            return Entered(0, [], notes)
        self._check(events, known)
        unknown = list(dict.fromkeys(each.item_id for each in events if each.item_id not in known))
        ahead = of_future([each.time for each in events], time.time())
        said = [of_unknown([each.item_id for each in events], known), *notes, ahead, *self._unread(events)]
        notes = [note for note in said if note]
        if self.store is not None:
            added = self.store.add_events([_record(each) for each in events], key)
            self._read(self.store)  # also for 0: the first call may have ended between the commit and its answer
            return Entered(added, unknown, notes)
        if not self._first(events, key):
            return Entered(0, unknown, notes)
        self._enter(events)
        return Entered(len(events), unknown, notes)

    def _check(self, events: Sequence[Happened], known: Collection[str]) -> None:
        users, total = self._data.interactions.user_indices, len(events)
        for number, event in enumerate(events, 1):
            if wrong := self.scale.problem(event.value):
                raise DataError(f"event {number} of {total}: {wrong}")
            without_blanks(event.item_id, f"event {number} of {total}: the item", known)
            if event.user_id not in self.of_user:
                without_blanks(event.user_id, f"event {number} of {total}: the user", users)

    def follow(self) -> None:
        """Enters what has reached the store since, from any process. One that does not answer holds up no question."""
        if self.store is None or time.monotonic() < self._again:
            return
        try:
            self._read(self.store)
        except StoreError as error:
            self._again = time.monotonic() + PAUSE_S
            say(f"warning: events of other processes are not seen for {PAUSE_S:g} s: {error}")

    def _read(self, store: StoreLike) -> None:
        with self._reading:
            numbers = store.counters()
            if int(numbers["forgotten"]) > self._forgotten:
                self._forget(store.first_events())
                self._forgotten = int(numbers["forgotten"])
            newest = int(numbers["events"])
            if newest <= self._last:
                return
            while self._last < newest:
                part = store.event_columns(since=self._last, limit=AT_ONCE)
                self._enter(list(map(Happened._make, zip(*part, strict=True))))
                self._last = part.number[-1] if len(part.number) == AT_ONCE else newest

    def _forget(self, first: Mapping[str, int]) -> None:
        """Drops what the store has no more; ``first``: user -> oldest number that it has."""
        left = {
            user: [each for each in events if each.number >= first[user]]
            for user, events in self.of_user.items()
            if user in first
        }
        self.of_user = {user: events for user, events in left.items() if events}

    def liked(self, event: Happened) -> bool:
        """Whether a model may read the event as a liking, by the rule of what it was trained on.

        A run that was trained on all events, whatever their rating, reads all; of data without ratings those above 0.
        """
        if event.value is None:
            return True
        if self._least is not None:
            return event.value >= self._least
        return self._mean is not None or event.value > 0

    def _unread(self, events: Sequence[Happened]) -> list[str]:
        """Notes on what no answer reads of some events."""
        notes, total = [], len(events)
        times, values = (sum(each is not None for each in some) for some in zip(*(e[2:4] for e in events), strict=True))
        if values and self._least is None and self._mean is not None:
            notes.append(
                f"the value of {values:,} of {total:,} events is kept for later trainings, and no list reads it: this "
                "run was trained on all events, whatever their rating (filter.min_rating or data.label would tell)"
            )
        if times and self._data.card["time"]["kind"] != "seconds":
            notes.append(
                f"the time of {times:,} of {total:,} events is kept for later trainings, and no list reads it: this "
                "run's data have no times, so events count in the order in which they come"
            )
        return notes

    def praised(self, value: float | None) -> bool:
        """Whether a value speaks for the item: a liking by the run's rule; where it has none, at least the mean rating.

        Without ratings, too: above 0. An event without a value speaks for its item.
        """
        least = self._mean if self._least is None else self._least
        return value is None or (value > 0 if least is None else value >= least)

    def _enter(self, events: Sequence[Happened]) -> None:
        """Takes in what the run's data do not have, and what fits their scale."""
        known, of_user = self._data.interactions, self.of_user
        users, items = [each.user_id for each in events], [each.item_id for each in events]
        times = np.array([each.time for each in events], np.float64)  # None: NaN
        numbers = np.array([each.number for each in events], np.int64)
        seconds = self._data.card["time"]["kind"] == "seconds"
        before = (numbers > 0) & (numbers <= self._trained)
        news = ~on_record(known, users, items, times, before, seconds=seconds)
        for event in compress(events, news.tolist()):
            if self.scale.fits(event.value):
                of_user.setdefault(event.user_id, []).append(event)

    def _first(self, events: Sequence[Happened], key: str | None) -> bool:
        if key is None:
            return True
        identifier(key, "idempotency_key")
        said = hashlib.sha256(json.dumps([each._asdict() for each in events]).encode()).hexdigest()
        before = self._keys.get(key)
        if before is not None and before != said:
            raise DataError(f"the idempotency key {shown(key)} came with another batch before; give this one its own")
        self._keys[key] = said
        if len(self._keys) > MOST_KEYS:
            del self._keys[next(iter(self._keys))]
        return before is None


def _least_liked(data: Dataset) -> float | None:
    """The value from which on an event is a liking, where the data tell; else None."""
    least = (data.card.get("filter") or {}).get("min_rating") if data.interactions.ratings is not None else None
    if data.interactions.labels is None:
        return None if least is None else float(least)
    rule = data.card.get("label") or {}
    at_least = rule.get("at_least") if isinstance(rule, Mapping) else None
    given = [float(each) for each in (at_least, least) if each is not None]
    return max(given) if given else 1.0


def of_unknown(item_ids: Sequence[str], known: Collection[str]) -> str:
    """A note on the items of events that are not among the known ones; empty: all are."""
    new = [item for item in item_ids if item not in known]
    if not new:
        return ""
    names = list(dict.fromkeys(new))
    examples = ", ".join(shown(each) for each in names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    return (
        f"{len(new):,} of {len(item_ids):,} events are of items that the run does not know ({examples}): they are "
        "kept, and count once there is such an item"
    )


def _record(event: Happened) -> Event:
    from interlingua.store.records import Event

    return Event(event.user_id, event.item_id, event.time, event.value)


def _events_of(given: Any) -> tuple[list[Happened], list[str]]:
    """The events, and notes on columns that are not read."""
    given = table_of(given, "interactions")
    frame = lines_frame(given, "event", EXAMPLE)
    frame = frame if isinstance(given, Mapping | Sequence) else finite(frame, "event")  # gaps of a frame are NaN
    if not frame.height:
        return [], []
    frame, used = rename(frame, EVENT_ROLES, {}, "events", Log(quiet=True))
    for column in ("user_id", "item_id"):
        if column not in frame.columns:
            raise DataError(f"events have no column {column} (they have {', '.join(frame.columns) or 'none'})")
        frame = with_ids(frame, given, column, used[column], "event")
    further = next((name for name in frame.columns if name not in COLUMNS), None)
    if further is not None:
        raise DataError(unknown("column", further, (*COLUMNS, "time"), "events"))
    frame = with_seconds(frame, used.get("timestamp", "timestamp"))
    named = [name for name in ("rating", "value", "label") if name in frame.columns]
    value, found = named[0] if named else None, []
    for number, line in enumerate(frame.iter_rows(named=True), 1):
        when = _number(line.get("timestamp"), "timestamp", number)
        said = None if value is None else _number(line.get(value), value, number)
        user, item = (identifier(id_text(line[name]), f"event {number}: {name}") for name in ("user_id", "item_id"))
        found.append(Happened(user, item, when, said))
    return found, [f"the column {name!r} is not read: {value!r} says the value of an event" for name in named[1:]]


def _number(value: Any, name: str, number: int) -> float | None:
    if value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise DataError(f"event {number}: {name} is {shown(value)}, and no number") from None
    if not math.isfinite(found):
        raise DataError(f"event {number}: {name} is {shown(value)}; give a finite number, or leave it out")
    return found
