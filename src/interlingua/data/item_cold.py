"""Items with all events held out: a fold of the items, or those that first appear after a moment.

In leave-one-out nearly every held-out item has other events in training, so it does not measure items without
events. Here all events of the cold items are test targets, and no event of theirs is read
by training, early stopping or calibration.

Shape key: N events, I items.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from interlingua.data.interactions import Interactions
from interlingua.errors import DataError

Mask = npt.NDArray[np.bool_]


def moment_of(times: npt.NDArray[np.int64], fraction: float) -> int:
    """The first second such that at most ``fraction`` of the events lie at or after it."""
    ordered = np.sort(times)
    position = int(np.ceil(len(ordered) * (1 - fraction) - 1e-9))
    if position >= len(ordered):
        return int(ordered[-1]) + 1
    moment = int(ordered[position])
    if position and ordered[position - 1] == moment:
        moment += 1
    return moment


def fold_of_items(interactions: Interactions, folds: int, fold: int, seed: int) -> Mask:
    """(I,) the items of one of ``folds`` random parts of the items that have events.

    Raises:
        DataError: fewer items than folds.
    """
    indices = np.flatnonzero(interactions.item_counts > 0)
    if len(indices) < folds:
        raise DataError(f"split.folds = {folds}, but only {len(indices)} items have events; use fewer folds")
    out = np.zeros(interactions.num_items, bool)
    out[np.random.default_rng(seed).permutation(indices)[fold::folds]] = True
    return out


def first_seen_from(interactions: Interactions, moment: int) -> Mask:
    """(I,) the items whose first event is at ``moment`` or later."""
    first = np.full(interactions.num_items, np.iinfo(np.int64).max)
    np.minimum.at(first, interactions.items, interactions.times)
    return (first >= moment) & (interactions.item_counts > 0)


def divided(interactions: Interactions, cold: Mask, until: int | None = None) -> tuple[Mask, Mask, Mask]:
    """(N,) masks of the test, the validation and the unused events; all others are training.

    Test: the cold items' events. Validation: each user's last other event, if the user and the item keep a training
    event. Unused: cold items' events of users that have no other event, and, of a split by time, other events
    from its moment on.

    Args:
        interactions: all events.
        cold: (I,) items to hold out.
        until: moment before which an event may be training (None: any).

    Raises:
        DataError: every event is a cold item's.
    """
    test = cold[interactions.items]
    usable = ~test if until is None else ~test & (interactions.times < until)
    if not usable.any():
        raise DataError("the split 'item-cold' leaves no event to train on; hold out fewer items, or a later moment")
    own = np.bincount(interactions.users[usable], minlength=interactions.num_users)
    indices = np.flatnonzero(usable)
    last = indices[np.append(interactions.users[indices[1:]] != interactions.users[indices[:-1]], True)]
    valid = np.zeros(len(interactions), bool)
    valid[last[own[interactions.users[last]] >= 2]] = True
    left = np.bincount(interactions.items[usable & ~valid], minlength=interactions.num_items)
    valid &= left[interactions.items] > 0  # an item held out by this alone would count as cold too
    unused = ~usable & ~test | (test & (own[interactions.users] == 0))
    return test & ~unused, valid, unused
