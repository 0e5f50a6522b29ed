"""Division of events into train, valid and test by the split that the options name (``data/splits/``)."""

from __future__ import annotations

import numpy as np

from interlingua import registry
from interlingua.data.interactions import Interactions
from interlingua.data.raw import Log, TimeKind
from interlingua.data.split import GroundTruth, Split
from interlingua.data.split_options import PARTS, SHOWN, TEST, TRAIN, UNUSED, VALID, Parts, SplitConfig
from interlingua.data.splitter import Dividing, Splitter

__all__ = [
    "PARTS",
    "SHOWN",
    "TEST",
    "TRAIN",
    "UNUSED",
    "VALID",
    "Parts",
    "SplitConfig",
    "divide",
    "of_parts",
    "protocol_id",
    "tie_notes",
    "tied_at_targets",
]


def tied_at_targets(interactions: Interactions, parts: Parts) -> int:
    """Users with a held-out event at the same time as an event of another part."""
    users, times = interactions.users, interactions.times
    tied = (users[1:] == users[:-1]) & (times[1:] == times[:-1]) & (parts[1:] != parts[:-1])
    return len(np.unique(users[1:][tied]))


def tie_notes(interactions: Interactions, parts: Parts, config: SplitConfig, ties: str) -> tuple[str, ...]:
    """Notes on the order of events with equal times, if a split by time depends on it."""
    tied = tied_at_targets(interactions, parts)
    if ties == "rows" or not tied or not _splitter(config).by_order(config):
        return ()
    what = {"hash": "a hash of user and item"}.get(ties, "the order of the file")
    return (f"ties in time: for {tied:,} users a held-out event has the time of another one; {what} decided",)


def of_parts(
    interactions: Interactions,
    parts: Parts,
    *,
    protocol: str,
    valid_known: bool,
    kind: TimeKind,
    notes: tuple[str, ...] = (),
    unseen: bool = False,
) -> Split:
    """The :class:`Split` that the codes describe; ``unseen``: users without a training event are new to a model."""
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
    shown = interactions.filter(parts == SHOWN).liked() if unseen else None
    return Split(
        train, held[VALID], held[TEST], protocol, valid_known, horizon, notes, pairs[VALID], pairs[TEST], shown
    )


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
    found = _splitter(config).divide(Dividing(interactions, config, given, kind, times, seed, log))
    parts, counts = found.parts, np.bincount(found.parts, minlength=len(PARTS))
    log.step(
        f"split {config.name}",
        len(parts),
        len(parts) - int(counts[UNUSED]),
        **{PARTS[code]: int(counts[code]) for code in (TRAIN, VALID, TEST, *([SHOWN] if counts[SHOWN] else []))},
        **found.about,
    )
    for code in (VALID, TEST):
        if not counts[code]:
            log.warn(f"the {PARTS[code]} part is empty: nothing can be measured on it")
    what, option = found.unused
    log.decide(what, int(counts[UNUSED]), option)
    protocol = protocol_id(config, seed)
    notes = tie_notes(interactions, parts, config, ties)
    return parts, of_parts(
        interactions, parts, protocol=protocol, valid_known=found.valid_known, kind=kind, notes=notes,
        unseen=found.unseen,
    )  # fmt: skip


def protocol_id(config: SplitConfig, seed: int) -> str:
    """e.g. ``leave-one-out``, ``ratio-0.6-0.2-0.2-random-seed7``, ``global-time-0.1-0.1``."""
    return _splitter(config).id(config, seed)


def _splitter(config: SplitConfig) -> Splitter:
    found: Splitter = registry.find("split", config.name)()
    return found
