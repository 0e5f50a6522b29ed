"""Filters on events: rating threshold, one-pass counts, iterated k-core. Pure functions of index arrays."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from interlingua.config import Config
from interlingua.data.queries import IntArray
from interlingua.data.raw import Log
from interlingua.data.repeats import STEP

Mask = npt.NDArray[np.bool_]


class FilterConfig(Config):
    """Which events are kept. Every filter is off at its default."""

    min_user: int = 0
    """keep users with at least this many events"""
    min_item: int = 0
    """keep items with at least this many events"""
    min_rating: float | None = None
    """keep events rated at least this; events without a rating are dropped too (and counted)"""
    kind: Literal["k-core", "one-pass"] = "k-core"
    """``k-core``: both counts hold in the result (iterated). ``one-pass``: counted once before filtering, as by the
    A-LLMRec authors, so that the result may fall below the thresholds"""
    duplicates: Literal["first", "last", "keep"] = "first"
    """which event of a repeated (user, item) pair stays; ``keep``: all (a held-out item may then be in the history)"""
    items_without_events: Literal["drop", "keep"] = "drop"
    """catalogue items without a remaining event: ``keep`` makes them items that can be recommended"""


def rating_mask(ratings: npt.NDArray[np.floating[Any]], at_least: float) -> Mask:
    """(N,) events with at least this rating; a missing rating (NaN) does not pass."""
    return np.asarray(ratings >= at_least)


def one_pass_mask(users: IntArray, items: IntArray, min_user: int, min_item: int) -> Mask:
    """(N,) events whose user and item have enough events *before* filtering."""
    enough_user = np.bincount(users)[users] >= min_user
    enough_item = np.bincount(items)[items] >= min_item
    return np.asarray(enough_user & enough_item)


def k_core_mask(users: IntArray, items: IntArray, min_user: int, min_item: int) -> tuple[Mask, int]:
    """(N,) events of the largest set in which every user and item has enough events, and the number of rounds."""
    keep = np.arange(len(users))
    rounds = 0
    while len(keep):
        inner = one_pass_mask(users[keep], items[keep], min_user, min_item)
        if inner.all():
            break
        keep = keep[inner]
        rounds += 1
    mask = np.zeros(len(users), bool)
    mask[keep] = True
    return mask, rounds


def duplicate_mask(users: IntArray, items: IntArray, which: str) -> Mask:
    """(N,) the first or last event of each (user, item) pair; the arrays must be in the order of time."""
    if which == "keep" or not len(users):
        return np.ones(len(users), bool)
    pair = np.asarray(users, np.int64) * (int(np.max(items)) + 1) + items
    order = np.argsort(pair, kind="stable")
    new = np.empty(len(pair), bool)
    if which == "first":
        new[0] = True
        new[1:] = pair[order[1:]] != pair[order[:-1]]
    else:
        new[-1] = True
        new[:-1] = pair[order[1:]] != pair[order[:-1]]
    mask = np.zeros(len(pair), bool)
    mask[order[new]] = True
    return mask


def _distinct(indices: IntArray) -> int:
    return int(np.count_nonzero(np.bincount(indices)))


def keep_mask(
    users: IntArray, items: IntArray, ratings: npt.NDArray[np.floating[Any]] | None, config: FilterConfig, log: Log
) -> Mask:
    """(N,) events that pass all filters, in the order rating, duplicates, counts; the arrays must be in time order."""
    mask = np.ones(len(users), bool)

    def apply(name: str, inner: Mask, **more: Any) -> None:
        before = int(mask.sum())
        mask[mask] = inner
        left_users, left_items = _distinct(users[mask]), _distinct(items[mask])
        log.step(name, before, int(mask.sum()), users=left_users, items=left_items, **more)

    if config.min_rating is not None:
        if ratings is None:
            log.warn(f"filter.min_rating = {config.min_rating} has no effect: the source has no ratings")
        else:
            log.decide(
                "events without a rating (dropped by min_rating)", int(np.isnan(ratings).sum()), "filter.min_rating"
            )
            apply(f"rating >= {config.min_rating:g}", rating_mask(ratings, config.min_rating))
    unique = duplicate_mask(users[mask], items[mask], config.duplicates)
    if not unique.all():
        log.decide(
            f"repeated (user, item) pairs, the {config.duplicates} event of each kept",
            int((~unique).sum()),
            'filter.duplicates = "keep"',
        )
        apply(STEP, unique)
    if config.min_user > 1 or config.min_item > 1:
        label = f"min_user {config.min_user}, min_item {config.min_item}"
        if config.kind == "one-pass":
            apply(f"one-pass {label}", one_pass_mask(users[mask], items[mask], config.min_user, config.min_item))
        else:
            inner, rounds = k_core_mask(users[mask], items[mask], config.min_user, config.min_item)
            apply(f"k-core {label}", inner, rounds=rounds)
    return mask
