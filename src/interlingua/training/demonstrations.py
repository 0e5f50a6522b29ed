"""Demonstrations for prompts: other users' training sequences up to an item, with the event that followed.

Only the training part is indexed: what users of the validation and test parts did later is nobody's demonstration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interlingua.data.queries import IntArray

if TYPE_CHECKING:
    from interlingua.data.interactions import Interactions


class NextEvents:
    """Events that have a next one of the same user, by their item."""

    def __init__(self, train: Interactions) -> None:
        """Sorts the events by item; those of one item by user and time."""
        self._train = train
        places = np.flatnonzero(train.users[:-1] == train.users[1:]) if len(train) else np.zeros(0, np.int64)
        self._ascending = places
        self._places = places[np.argsort(train.items[places], kind="stable")]
        counts = np.bincount(train.items[places], minlength=train.num_items)
        self._offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def after(self, item: int, user: int) -> tuple[IntArray, int] | None:
        """The first sequence, not of ``user``, that comes to ``item``, and the item behind it.

        Args:
            item: the last item of a query's history.
            user: who asks; -1: nobody in training.

        Returns:
            (n,) items up to ``item``, oldest first, and the next one. Where nobody else had ``item``, the first
            sequence of another user; None: there is no other.
        """
        known = 0 <= item < len(self._offsets) - 1
        own = self._places[self._offsets[item] : self._offsets[item + 1]] if known else self._places[:0]
        for places in (own, self._ascending):
            at = 0
            if len(places) and self._train.users[places[0]] == user:  # both are in the order of users
                at = int(np.searchsorted(places, self._train.offsets[user + 1]))
            if at < len(places):
                place = int(places[at])
                start = int(self._train.offsets[self._train.users[place]])
                return self._train.items[start : place + 1], int(self._train.items[place + 1])
        return None


def other_items(generator: np.random.Generator, num_items: int, without: set[int], count: int) -> list[int]:
    """At most ``count`` different items, none of ``without``; of many items only as many as that takes are drawn."""
    some = generator.choice(num_items, min(num_items, count + len(without)), replace=False)
    return [item for item in some.tolist() if item not in without][:count]
