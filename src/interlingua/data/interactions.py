"""User-item events as flat arrays sorted by (user, time), with CSR offsets: a history is a slice, never a copy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from interlingua.data.queries import IntArray, Queries

Ids = npt.NDArray[Any]


@dataclass(frozen=True)
class Interactions:
    """Events between users and items; indices are positions in ``user_ids`` and ``item_ids`` (external ids, strings).

    Users or items without an event are legal: a cold item has an index like any other.
    """

    user_ids: Ids
    """(U,) external ids"""
    item_ids: Ids
    """(I,) external ids"""
    users: npt.NDArray[np.int32]
    """(N,) sorted"""
    items: npt.NDArray[np.int32]
    """(N,)"""
    times: npt.NDArray[np.int64]
    """(N,) seconds, or the order within the user"""
    ratings: npt.NDArray[np.float32] | None = None
    """(N,) if there are any"""
    labels: npt.NDArray[np.bool_] | None = None
    """(N,) whether the user liked the item, if events are labelled (``[data] label``)"""
    labelled: Interactions | None = None
    """for the training part of labelled data: all its events with their labels; the events here are the liked ones"""

    @classmethod
    def of(
        cls,
        user_ids: Ids,
        item_ids: Ids,
        users: IntArray,
        items: IntArray,
        times: IntArray | None = None,
        ratings: npt.NDArray[Any] | None = None,
    ) -> Interactions:
        """Sorts the events by (user, time), stably: events with equal times keep their order."""
        times = np.arange(len(users)) if times is None else times
        order = np.lexsort((np.asarray(times), np.asarray(users)))
        return cls(
            np.asarray(user_ids),
            np.asarray(item_ids),
            np.asarray(users)[order].astype(np.int32),
            np.asarray(items)[order].astype(np.int32),
            np.asarray(times)[order].astype(np.int64),
            None if ratings is None else np.asarray(ratings)[order].astype(np.float32),
        )

    def __len__(self) -> int:
        return len(self.users)

    @property
    def num_users(self) -> int:
        """U"""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """I"""
        return len(self.item_ids)

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """(U + 1,) user ``u`` has events ``offsets[u]:offsets[u + 1]``"""
        counts = np.bincount(self.users, minlength=self.num_users)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @cached_property
    def item_counts(self) -> npt.NDArray[np.int64]:
        """(I,) events per item"""
        return np.bincount(self.items, minlength=self.num_items).astype(np.int64)

    @property
    def user_counts(self) -> npt.NDArray[np.int64]:
        """(U,) events per user"""
        return np.diff(self.offsets)

    def history(self, user: int) -> npt.NDArray[np.int32]:
        """Item indices of one user, oldest first (a view)."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def queries(self, users: IntArray | None = None) -> Queries:
        """Queries for the given user indices (default: all) with these events as their histories."""
        everyone = Queries(np.arange(self.num_users), self.items, self.offsets, self.ratings, self.times)
        return everyone if users is None else everyone.take(np.asarray(users))

    @cached_property
    def middle_rating(self) -> float | None:
        """The mean of the lowest and the highest rating; None without ratings."""
        known = None if self.ratings is None else self.ratings[np.isfinite(self.ratings)]
        return None if known is None or not len(known) else (float(known.min()) + float(known.max())) / 2

    def matrix(self) -> sp.csr_matrix:
        """(U, I) float32, 1 where a user has an item (repeated events count once)."""
        ones = np.ones(len(self), np.float32)
        out = sp.csr_matrix((ones, (self.users, self.items)), shape=(self.num_users, self.num_items))
        out.sum_duplicates()  # scipy 1.13.0 keeps them apart
        out.data[:] = 1.0
        return out

    @cached_property
    def item_indices(self) -> dict[str, int]:
        """External item id -> index."""
        return {str(item): row for row, item in enumerate(self.item_ids)}

    @cached_property
    def user_indices(self) -> dict[str, int]:
        """External user id -> index."""
        return {str(user): row for row, user in enumerate(self.user_ids)}

    def filter(self, mask: npt.NDArray[np.bool_]) -> Interactions:
        """The events in ``mask``, with the same ids and indices; ``labelled`` is dropped."""
        return Interactions(
            self.user_ids, self.item_ids, self.users[mask], self.items[mask], self.times[mask],
            None if self.ratings is None else self.ratings[mask],
            None if self.labels is None else self.labels[mask],
        )  # fmt: skip

    def liked(self) -> Interactions:
        """The liked ones of labelled events; all of them stay in ``labelled``."""
        if self.labels is None:
            return self
        return replace(self.filter(self.labels), labels=None, labelled=self)
