"""Which events a run's data have already: those count once. Many at once, by arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray

BoolArray = npt.NDArray[np.bool_]


def on_record(
    known: Interactions, users: Sequence[str], items: Sequence[str], times: npt.NDArray[np.float64],
    before: BoolArray, *, seconds: bool,
) -> BoolArray:  # fmt: skip
    """(N,) which events the data have: the same user, item and second, or one that was there when they were prepared.

    Of the latter kind those that the data's filters left out (of users, items or low ratings) are news all the same.

    Args:
        known: the data's.
        users: (N) ids.
        items: (N) ids.
        times: (N,) seconds since 1970; NaN: not known.
        before: (N,) those that the run's store had when the data were prepared.
        seconds: whether the data's times are such.
    """
    user = np.fromiter((known.user_indices.get(each, -1) for each in users), np.int64, len(users))
    item = np.fromiter((known.item_indices.get(each, -1) for each in items), np.int64, len(items))
    both = (user >= 0) & (item >= 0)
    found = np.zeros(len(users), np.bool_)
    old = np.flatnonzero(both & before)
    if len(old):
        found[old] = _same_pair(known, user[old], item[old])
    unsure = np.flatnonzero(both & ~before & np.isfinite(times))
    if seconds and len(unsure):
        found[unsure] = _same_second(known, user[unsure], item[unsure], np.floor(times[unsure]).astype(np.int64))
    return found


def _same_pair(known: Interactions, users: IntArray, items: IntArray) -> BoolArray:
    """(N,) whether the data have any event of the user on the item."""
    indices = _of_users(known, users)
    pairs, own = (
        who.astype(np.int64) * known.num_items + which
        for who, which in ((users, items), (known.users[indices], known.items[indices]))
    )
    return np.isin(pairs, own)


def _of_users(known: Interactions, users: IntArray) -> IntArray:
    """Numbers of the data's events of some users."""
    who = np.unique(users)
    starts, lengths = known.offsets[who], np.diff(known.offsets)[who]
    ends = np.cumsum(lengths)
    found: IntArray = np.arange(lengths.sum()) + np.repeat(starts - (ends - lengths), lengths)
    return found


def _same_second(known: Interactions, users: IntArray, items: IntArray, times: IntArray) -> BoolArray:
    """(N,) whether the data have an event of the user on the item in the second."""
    indices = _of_users(known, users)
    count = len(indices)
    pairs = np.concatenate([known.users[indices], users]).astype(np.int64) * known.num_items
    pairs += np.concatenate([known.items[indices], items])
    _, place = np.unique(pairs, return_inverse=True)
    _, moment = np.unique(np.concatenate([known.times[indices], times]), return_inverse=True)
    keys = place.astype(np.int64) * (int(moment.max()) + 1) + moment
    return np.isin(keys[count:], keys[:count])
