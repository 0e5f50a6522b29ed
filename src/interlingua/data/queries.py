"""Queries: users with the histories that a recommendation may read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

PAD = -1
"""Index that means "no item" in padded histories."""

IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Queries:
    """Users with the histories that a recommendation may read (never a target).

    Histories lie on one flat array, oldest first: row ``b`` is ``items[offsets[b]:offsets[b + 1]]``.
    """

    users: IntArray
    """(B,) user indices; -1 for a user unseen in training"""
    items: IntArray
    """(N,) item indices of all histories"""
    offsets: IntArray
    """(B + 1,)"""
    ratings: npt.NDArray[np.float32] | None = None
    """(N,) each user's rating of each item, NaN if unknown; None: no ratings; for reasons, not for models"""
    times: npt.NDArray[np.int64] | None = None
    """(N,) times in the interactions' unit (seconds, or the order within the user); None: unknown"""
    order: int = 0
    """in which of many orders a prompt lists the candidates of these queries: for asking whether their place counts"""

    @classmethod
    def of(cls, histories: list[list[int]] | list[IntArray], users: IntArray | None = None) -> Queries:
        """Queries from a list of item-row lists; unknown users unless ``users`` is given."""
        lengths = np.fromiter((len(h) for h in histories), np.int64, len(histories))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        flat = [np.asarray(h, dtype=np.int32) for h in histories]
        items = np.concatenate(flat) if flat else np.zeros(0, np.int32)
        who = np.full(len(histories), -1, np.int64) if users is None else np.asarray(users, np.int64)
        return cls(who, items.astype(np.int32), offsets)

    def __len__(self) -> int:
        return len(self.users)

    def without_histories(self) -> Queries:
        """The same users with empty histories."""
        return Queries(self.users, self.items[:0], np.zeros(len(self) + 1, np.int64))

    def at(self, places: Any, users: IntArray, offsets: IntArray) -> Queries:
        """The events at some positions of the flat arrays, as histories of the given users, with ratings and times.

        Args:
            places: (N',) indices, a mask or a slice.
            users: (B',)
            offsets: (B' + 1,)
        """
        ratings = None if self.ratings is None else self.ratings[places]
        times = None if self.times is None else self.times[places]
        return replace(self, users=users, items=self.items[places], offsets=offsets, ratings=ratings, times=times)

    def history(self, row: int) -> IntArray:
        """Item indices of one query, oldest first (a view)."""
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    def history_ratings(self, row: int) -> npt.NDArray[np.float32]:
        """The user's rating of each item of :meth:`history`; NaN if unknown."""
        if self.ratings is None:
            return np.full(len(self.history(row)), np.nan, np.float32)
        return self.ratings[self.offsets[row] : self.offsets[row + 1]]

    def history_times(self, row: int) -> npt.NDArray[np.int64] | None:
        """The time of each event of :meth:`history`; None if times are unknown."""
        return None if self.times is None else self.times[self.offsets[row] : self.offsets[row + 1]]

    def below(self, num_items: int) -> Queries:
        """The same queries without the items of their histories from index ``num_items`` on."""
        mask = self.items < num_items
        if mask.all():
            return self
        owner = np.repeat(np.arange(len(self)), self.lengths())[mask]
        counts = np.bincount(owner, minlength=len(self))
        return self.at(mask, self.users, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))

    def lengths(self) -> IntArray:
        """(B,) number of items in each history."""
        return np.diff(self.offsets)

    def take(self, indices: IntArray) -> Queries:
        """The queries at the given positions, in that order."""
        indices = np.asarray(indices, np.int64)
        lengths = np.diff(self.offsets)[indices]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        inner = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        places = np.repeat(self.offsets[indices], lengths) + inner
        return self.at(places, self.users[indices], offsets)

    def slice(self, start: int, stop: int) -> Queries:
        """Queries ``start`` to ``stop`` (views, no copy of the items)."""
        stop = min(stop, len(self))
        offsets = self.offsets[start : stop + 1]
        return self.at(slice(offsets[0], offsets[-1]), self.users[start:stop], offsets - offsets[0])

    def padded(self, length: int) -> npt.NDArray[np.int64]:
        """(B, length) the last ``length`` items of each history, left-padded with PAD."""
        lengths = np.minimum(np.diff(self.offsets), length)
        columns = np.arange(length)[None, :] - (length - lengths)[:, None]
        where = columns >= 0
        source = (self.offsets[1:] - lengths)[:, None] + np.where(where, columns, 0)
        out = np.full((len(self), length), PAD, np.int64)
        out[where] = self.items[source[where]]
        return out
