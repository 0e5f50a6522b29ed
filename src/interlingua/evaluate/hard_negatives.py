"""Sampled candidates that popularity alone does not tell apart: drawn by popularity, or as popular as the target.

Like the uniform ones (:mod:`interlingua.evaluate.candidates`) they are functions of (seed, user id), here also of the
training events. Shape key: B users, I items.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from interlingua.data.queries import IntArray
from interlingua.evaluate.candidates import GOLDEN, Keys, mix

Drawn = list[npt.NDArray[np.int64]]


def popular(keys: Keys, forbidden: Sequence[IntArray], item_counts: IntArray, count: int) -> Drawn:
    """Items drawn one after the other, without replacement, in proportion to their training events (BERT4Rec).

    Each item gets a random time, exponential with its number of events as rate; the first ``count`` are drawn. Items
    without an event come last.

    Args:
        keys: (B,) see :func:`interlingua.evaluate.candidates.user_keys`.
        forbidden: of each user, item indices that must not be drawn.
        item_counts: (I,) training events.
        count: items per user.
    """
    seeds = _item_hashes(len(item_counts))
    with np.errstate(divide="ignore"):
        waits = 1 / np.asarray(item_counts, np.float64)  # infinite without events
    out = []
    for key, banned in zip(keys, forbidden, strict=True):
        uniform = ((mix(key + seeds) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        allowed = _allowed(banned, len(item_counts))
        times = np.where(waits[allowed] < np.inf, -np.log(uniform[allowed]) * waits[allowed], np.inf)
        out.append(allowed[np.lexsort((uniform[allowed], times))[:count]])
    return out


def matched(
    keys: Keys, targets: Sequence[IntArray], forbidden: Sequence[IntArray], item_counts: IntArray, count: int
) -> Drawn:
    """Items about as popular as the user's targets: from the nearest to each in an order by training events.

    Of several targets each is matched with its share. At the ends of the order the neighbours lie on one side: the most
    popular item of all still stands out.

    Args:
        keys: (B,).
        targets: of each user, item indices.
        forbidden: of each user, item indices that must not be drawn.
        item_counts: (I,) training events.
        count: items per user.
    """
    seeds = _item_hashes(len(item_counts))
    order = np.lexsort((mix(seeds), item_counts))  # equal counts in a random order
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    out = []
    for key, mine, banned in zip(keys, targets, forbidden, strict=True):
        left = np.ones(len(order), bool)
        left[np.asarray(banned, np.int64)] = False
        drawn: list[npt.NDArray[np.int64]] = []
        for number, target in enumerate(mine):
            size = count // len(mine) + (number < count % len(mine))
            near = _nearest(order, int(place[target]), left, 2 * size)
            found = near[np.argsort(mix(key + seeds[near]), kind="stable")[:size]]
            left[found] = False
            drawn.append(found)
        out.append(np.concatenate(drawn) if drawn else np.zeros(0, np.int64))
    return out


def _nearest(order: IntArray, at: int, left: npt.NDArray[np.bool_], size: int) -> npt.NDArray[np.int64]:
    """At most ``size`` allowed items nearest to a place of the order."""
    width = size
    while True:
        low, high = max(at - width, 0), min(at + width + 1, len(order))
        window = order[low:high]
        mask = left[window]
        if int(mask.sum()) >= size or (low == 0 and high == len(order)):
            distance = np.abs(np.arange(low, high) - at)[mask]
            return np.asarray(window[mask][np.argsort(distance, kind="stable")[:size]], np.int64)
        width *= 2


def _allowed(banned: IntArray, num_items: int) -> npt.NDArray[np.int64]:
    mask = np.ones(num_items, bool)
    mask[np.asarray(banned, np.int64)] = False
    return np.flatnonzero(mask)


def _item_hashes(num_items: int) -> Keys:
    return (np.arange(num_items, dtype=np.uint64) + np.uint64(1)) * GOLDEN
