"""Division of events into train, valid and test: leave-one-out, ratio, global time, cold items, given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from interlingua.config import Config
from interlingua.data.interactions import Interactions
from interlingua.data.item_cold import divided, first_seen_from, fold_of_items
from interlingua.data.positions import WHY_NOT
from interlingua.data.raw import Log, TimeKind
from interlingua.data.split import GroundTruth, Split
from interlingua.errors import DataError

Parts = npt.NDArray[np.int8]
PARTS = ("train", "valid", "test", "unused")
"""Names of the codes 0-3; ``unused``: events after a user's only target (global time with ``targets = "next"``)"""
TRAIN, VALID, TEST, UNUSED = range(4)


class SplitConfig(Config):
    """Options of the division of events."""

    only_with: ClassVar[Mapping[str, tuple[str, tuple[str, ...]]]] = {
        "valid": ("name", ("ratio", "global-time")),
        "test": ("name", ("ratio", "global-time", "item-cold")),
        "by": ("name", ("ratio", "item-cold")),
        "valid_from": ("name", ("global-time",)),
        "test_from": ("name", ("global-time", "item-cold")),
        "folds": ("name", ("item-cold",)),
        "fold": ("name", ("item-cold",)),
        "targets": ("name", ("global-time",)),
    }

    name: Literal["leave-one-out", "ratio", "global-time", "item-cold", "given"] = "leave-one-out"
    """``leave-one-out``: each user's last event is the test target, the one before it the validation target (users with
    fewer than 3 events all stay in train). ``ratio``: fractions of each user's events. ``global-time``: two moments cut
    all users alike. ``item-cold``: every event of some items is a test target (see
    :mod:`interlingua.data.item_cold`). ``given``: the source's own column"""
    valid: float = Field(default=0.1, ge=0, lt=1)
    """ratio, global-time: fraction of the events for validation"""
    test: float = Field(default=0.1, ge=0, lt=1)
    """ratio, global-time, item-cold by time: fraction of the events for test"""
    by: Literal["random", "time"] = "random"
    """ratio: which events of a user are held out: random ones (RLMRec's 3:1:1: valid = test = 0.2) or the last ones.
    item-cold: which items: a random fold, or those first seen at ``test_from`` or later"""
    valid_from: int | None = None
    """global-time: first second of the validation part (None: from the fraction)"""
    test_from: int | None = None
    """global-time, item-cold by time: first second of the test part (None: from the fraction)"""
    targets: Literal["all", "next"] = "all"
    """global-time: all later events of a user are targets, or only the next one"""

    folds: int = Field(default=5, ge=2)
    """item-cold: number of parts of the items"""
    fold: int = Field(default=0, ge=0)
    """item-cold: which part is held out, from 0"""

    @model_validator(mode="before")
    @classmethod
    def _plain_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _shares(self) -> SplitConfig:
        if self.valid + self.test >= 1:
            raise ValueError(f"valid + test must be below 1, got {self.valid} + {self.test}")
        if self.fold >= self.folds:
            raise ValueError(f"fold is one of 0 to {self.folds - 1} (folds = {self.folds}), got {self.fold}")
        if self.valid_from is not None and self.test_from is not None and self.valid_from > self.test_from:
            raise ValueError(f"valid_from ({self.valid_from}) lies after test_from ({self.test_from})")
        return self


def leave_one_out(interactions: Interactions) -> Parts:
    """(N,) codes; users with fewer than 3 events stay in train."""
    parts = np.zeros(len(interactions), np.int8)
    ends = interactions.offsets[1:][interactions.user_counts >= 3]
    parts[ends - 1] = TEST
    parts[ends - 2] = VALID
    return parts


def ratio(interactions: Interactions, valid: float, test: float, by: str, seed: int) -> Parts:
    """(N,) codes; fractions of each user's events, rounded half up; at least one event per user stays in train."""
    counts = interactions.user_counts
    key = np.random.default_rng(seed).random(len(interactions)) if by == "random" else np.arange(len(interactions))
    order = np.lexsort((key, interactions.users))
    from_end = np.empty(len(order), np.int64)
    from_end[order] = np.repeat(interactions.offsets[1:], counts) - 1 - np.arange(len(order))
    num_test = np.minimum(np.floor(counts * test + 0.5), np.maximum(counts - 1, 0)).astype(np.int64)
    num_valid = np.minimum(np.floor(counts * valid + 0.5), np.maximum(counts - 1 - num_test, 0)).astype(np.int64)
    parts = np.zeros(len(order), np.int8)
    parts[from_end < (num_test + num_valid)[interactions.users]] = VALID
    parts[from_end < num_test[interactions.users]] = TEST
    return parts


def global_time(interactions: Interactions, config: SplitConfig) -> tuple[Parts, int, int]:
    """(N,) codes, and the first seconds of validation and test: events of the same second are never separated."""
    times = interactions.times
    test_from = config.test_from
    if test_from is None:
        test_from = _moment(times, config.test)
    valid_from = config.valid_from
    if valid_from is None:
        earlier = times[times < test_from]
        fraction = config.valid / (1 - config.test)
        valid_from = min(_moment(earlier, fraction), test_from) if len(earlier) else test_from
    parts = np.where(times >= test_from, TEST, np.where(times >= valid_from, VALID, TRAIN)).astype(np.int8)
    if config.targets == "next":
        for part in (VALID, TEST):
            indices = np.flatnonzero(parts == part)
            first = np.ones(len(indices), bool)
            first[1:] = interactions.users[indices[1:]] != interactions.users[indices[:-1]]
            # later validation events are known at test time, but targets are all that a split stores of a part
            parts[indices[~first]] = UNUSED
    return parts, valid_from, test_from


def _moment(times: npt.NDArray[np.int64], fraction: float) -> int:
    """The first second such that at most ``fraction`` of the events lie at or after it."""
    ordered = np.sort(times)
    position = int(np.ceil(len(ordered) * (1 - fraction) - 1e-9))
    if position >= len(ordered):
        return int(ordered[-1]) + 1
    moment = int(ordered[position])
    if position and ordered[position - 1] == moment:
        moment += 1
    return moment


def tied_at_targets(interactions: Interactions, parts: Parts) -> int:
    """Users with a held-out event at the same time as an event of another part."""
    users, times = interactions.users, interactions.times
    tied = (users[1:] == users[:-1]) & (times[1:] == times[:-1]) & (parts[1:] != parts[:-1])
    return len(np.unique(users[1:][tied]))


def tie_notes(interactions: Interactions, parts: Parts, config: SplitConfig, ties: str) -> tuple[str, ...]:
    """Notes on the order of events with equal times, if a split by time depends on it."""
    by_time = config.name == "leave-one-out" or (config.name, config.by) == ("ratio", "time")
    tied = tied_at_targets(interactions, parts)
    if ties == "rows" or not tied or not (by_time or config.targets == "next"):
        return ()
    what = {"hash": "a hash of user and item"}.get(ties, "the order of the file")
    return (f"ties in time: for {tied:,} users a held-out event has the time of another one; {what} decided",)


def item_cold(
    interactions: Interactions, config: SplitConfig, kind: TimeKind, times: str | None, seed: int, log: Log
) -> Parts:
    """(N,) codes: see :mod:`interlingua.data.item_cold`."""
    until = None
    if config.by == "time":
        needs_times(kind, times, 'split "item-cold" by = "time"')
        until = _moment(interactions.times, config.test) if config.test_from is None else config.test_from
        cold = first_seen_from(interactions, until)
    else:
        cold = fold_of_items(interactions, config.folds, config.fold, seed)
    if not cold.any():
        raise DataError(
            f'split "item-cold": no item is first seen at second {until} or later; give an earlier split.test_from'
        )
    test, valid, unused = divided(interactions, cold, until)
    parts = np.zeros(len(interactions), np.int8)
    for code, mask in ((VALID, valid), (TEST, test), (UNUSED, unused)):
        parts[mask] = code
    log.decide("cold items, every event of which is held out", int(cold.sum()), "split.fold, split.folds")
    return parts


def needs_times(kind: TimeKind, times: str | None, what: str) -> None:
    """Raises: DataError: the source has no times that are comparable between users; the message says why."""
    if kind != "seconds":
        why = WHY_NOT.get(times or "order", WHY_NOT["order"])
        raise DataError(f"{what} needs times that are comparable between users: {why}")


def of_parts(
    interactions: Interactions,
    parts: Parts,
    *,
    protocol: str,
    valid_known: bool,
    kind: TimeKind,
    notes: tuple[str, ...] = (),
) -> Split:
    """The :class:`Split` that the codes describe."""
    train = interactions.filter(parts == TRAIN).liked()
    held, pairs = {}, {}
    for part in (VALID, TEST):
        events = interactions.filter(parts == part)
        pairs[part] = (
            None if events.labels is None else GroundTruth.of(events.users, events.items, events.times, events.labels)
        )
        liked = events.liked()
        held[part] = GroundTruth.of(liked.users, liked.items, liked.times)
    horizon = int(train.times.max()) if kind == "seconds" and len(train) else None
    return Split(train, held[VALID], held[TEST], protocol, valid_known, horizon, notes, pairs[VALID], pairs[TEST])


def divide(
    interactions: Interactions,
    given: Parts | None,
    config: SplitConfig,
    kind: TimeKind,
    seed: int,
    log: Log,
    ties: str = "file",
    times: str | None = None,
) -> tuple[Parts, Split]:
    """Codes and split of the interactions.

    Args:
        interactions: in their order.
        given: (N,) codes that the source has, for ``given``.
        config: which split.
        kind: the kind of the times.
        seed: of random splits.
        log: records sizes.
        ties: the rule that ordered events of equal times (:mod:`interlingua.data.ties`, or ``rows``).
        times: the meaning of the times (None: by ``kind``).

    Raises:
        DataError: the source lacks what the split needs (real times, a given column).
    """
    more: dict[str, Any] = {}
    valid_known = True
    if config.name == "leave-one-out":
        parts = leave_one_out(interactions)
        log.decide(
            "users with fewer than 3 events, kept in train whole",
            int((interactions.user_counts < 3).sum()),
            "filter.min_user = 3",
        )
    elif config.name == "ratio":
        parts = ratio(interactions, config.valid, config.test, config.by, seed)
        valid_known = config.by == "time"
        more = {"seed": seed} if config.by == "random" else {}
    elif config.name == "global-time":
        needs_times(kind, times, 'split "global-time"')
        parts, valid_from, test_from = global_time(interactions, config)
        more = {"valid_from": str(valid_from), "test_from": str(test_from)}
    elif config.name == "item-cold":
        parts = item_cold(interactions, config, kind, times, seed, log)
        more = {"seed": seed} if config.by == "random" else {}
    else:
        if given is None:
            raise DataError(
                'split "given" needs a column split or part (train/valid/test) in the events, which this source lacks; '
                "name it with columns.part, or choose another split"
            )
        parts, valid_known = given, False
    counts = np.bincount(parts, minlength=4)
    log.step(
        f"split {config.name}",
        len(parts),
        len(parts) - int(counts[UNUSED]),
        **{name: int(counts[code]) for code, name in enumerate(PARTS[:3])},
        **more,
    )
    for code in (VALID, TEST):
        if not counts[code]:
            log.warn(f"the {PARTS[code]} part is empty: nothing can be measured on it")
    if config.name == "item-cold":
        log.decide("events of users or times without a training event, in no part", int(counts[UNUSED]), "split.by")
    else:
        log.decide("events after a user's next one, in no part", int(counts[UNUSED]), 'split.targets = "all"')
    protocol = protocol_id(config, seed)
    notes = tie_notes(interactions, parts, config, ties)
    return parts, of_parts(interactions, parts, protocol=protocol, valid_known=valid_known, kind=kind, notes=notes)


def protocol_id(config: SplitConfig, seed: int) -> str:
    """e.g. ``leave-one-out``, ``ratio-0.6-0.2-0.2-random-seed7``, ``global-time-0.1-0.1``."""
    if config.name == "ratio":
        seeded = f"-seed{seed}" if config.by == "random" else ""
        return f"ratio-{1 - config.valid - config.test:g}-{config.valid:g}-{config.test:g}-{config.by}{seeded}"
    if config.name == "global-time":
        cuts = [
            f"{fraction:g}" if moment is None else f"from{moment}"
            for fraction, moment in ((config.valid, config.valid_from), (config.test, config.test_from))
        ]
        return f"global-time-{'-'.join(cuts)}" + ("-next" if config.targets == "next" else "")
    if config.name == "item-cold":
        moment = f"{config.test:g}" if config.test_from is None else f"from{config.test_from}"
        which = f"{config.fold}-of-{config.folds}-seed{seed}" if config.by == "random" else f"time-{moment}"
        return f"item-cold-{which}"
    return config.name
