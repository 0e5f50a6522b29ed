"""Train, validation and test parts of interactions, each with its protocol id and time horizon."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import DataError

Part = Literal["valid", "test"]


@dataclass(frozen=True)
class GroundTruth:
    """Held-out items of some users, in CSR form."""

    users: npt.NDArray[np.int64]
    """(M,) user indices that have at least one target"""
    items: npt.NDArray[np.int32]
    """(T,) target item indices"""
    offsets: npt.NDArray[np.int64]
    """(M + 1,)"""
    times: npt.NDArray[np.int64] | None = None
    """(T,) times in the interactions' unit; None: unknown"""
    labels: npt.NDArray[np.bool_] | None = None
    """(T,) whether the user liked the item; None: the user chose every target"""

    @classmethod
    def of(
        cls,
        users: IntArray,
        items: IntArray,
        times: IntArray | None = None,
        labels: npt.NDArray[np.bool_] | None = None,
    ) -> GroundTruth:
        """From (user, item) pairs in any order; the order of a user's items is kept."""
        order = np.argsort(users, kind="stable")
        who, counts = np.unique(np.asarray(users)[order], return_counts=True)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        found = cls(who.astype(np.int64), np.asarray(items)[order].astype(np.int32), offsets)
        return replace(
            found,
            times=None if times is None else np.asarray(times)[order].astype(np.int64),
            labels=None if labels is None else np.asarray(labels)[order].astype(bool),
        )

    def __len__(self) -> int:
        return len(self.users)

    def of_row(self, row: int) -> npt.NDArray[np.int32]:
        """Targets of the user at position ``row`` (a view)."""
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    def filter(self, mask: npt.NDArray[np.bool_]) -> GroundTruth:
        """The same users with the targets in ``mask`` (T,)."""
        counts = np.bincount(self.owners[mask], minlength=len(self))
        return self._at(mask, self.users, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))

    def _at(self, places: Any, users: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> GroundTruth:
        """Targets at some positions of the flat arrays, for the given users."""
        times = None if self.times is None else self.times[places]
        labels = None if self.labels is None else self.labels[places]
        return GroundTruth(users, self.items[places], offsets, times, labels)

    @property
    def owners(self) -> npt.NDArray[np.int64]:
        """(T,) position of each target's user."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def distinct(self) -> GroundTruth:
        """The same users with each target once, in order of first appearance."""
        base = int(self.items.max(initial=0)) + 1
        _, first = np.unique(self.owners * base + self.items, return_index=True)
        keep = np.zeros(len(self.items), bool)
        keep[first] = True
        return self if keep.all() else self.filter(keep)

    def take(self, indices: IntArray) -> GroundTruth:
        """The users at the given positions, in that order."""
        indices = np.asarray(indices, np.int64)
        places = Queries(self.users, np.arange(len(self.items)), self.offsets).take(indices)
        return self._at(places.items, self.users[indices], np.asarray(places.offsets, np.int64))


@dataclass(frozen=True)
class Split:
    """Parts of one dataset. User and item indices are the same in all of them."""

    train: Interactions
    valid: GroundTruth
    test: GroundTruth
    protocol: str
    """e.g. ``leave-one-out``"""
    valid_in_test_history: bool = True
    """whether the validation item is in the history at test time: yes for leave-one-out, no for given 3:1:1 splits"""
    horizon: int | None = None
    """time of the last training event (None: order only)"""
    notes: tuple[str, ...] = ()
    """notes on the division of events for readers of results"""
    valid_pairs: GroundTruth | None = None
    """validation events with their labels, if the data are labelled (``[data] label``); ``valid`` has the liked ones"""
    test_pairs: GroundTruth | None = None
    """the same for the test part"""
    shown: Interactions | None = None
    """events of users who are in no training data, known when they are asked for (``cold-users``, ``few-shot``)"""

    def pairs(self, part: Part) -> GroundTruth:
        """Held-out events of a part with the labels that say whether the user liked the item.

        Raises:
            DataError: the data have no labels.
        """
        found = self.valid_pairs if part == "valid" else self.test_pairs
        if found is None:
            raise DataError(
                "the data have no labels, so nothing says which held-out items a user did not like; give a rating from "
                "which on an item is liked (--set data.label.at_least=4), or a column (--set data.columns.label=NAME)"
            )
        return found

    def targets(self, part: Part) -> GroundTruth:
        """Held-out items of a part. Only evaluation opens ``test``."""
        return self.valid if part == "valid" else self.test

    def queries(self, part: Part) -> Queries:
        """One query per user of the part, with the history that a recommender may read at that moment."""
        return self.queries_of(self.targets(part).users, part)

    def queries_of(self, users: IntArray, part: Part) -> Queries:
        """The same for any users. Users of ``shown`` are unknown to a model (-1): their histories are all there is."""
        base = self.train.queries(users) if self.shown is None else _unseen(self.train, self.shown, users)
        if part == "valid" or not self.valid_in_test_history or not len(self.valid):
            return base
        return _appended(base, self.valid, self.train.num_users)


def _unseen(train: Interactions, shown: Interactions, users: IntArray) -> Queries:
    """Queries of the users, those without a training event by their events in ``shown``."""
    own, other = train.queries(users), shown.queries(users)
    trained = train.user_counts[own.users] > 0
    lengths = np.where(trained, own.lengths(), other.lengths())
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places = np.repeat(np.where(trained, own.offsets[:-1], len(own.items) + other.offsets[:-1]), lengths)
    places = places + np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    both = [_joined(one, two) for one, two in zip(_arrays(own), _arrays(other), strict=True)]
    items, ratings, times = (None if each is None else each[places] for each in both)
    assert items is not None
    return Queries(np.where(trained, own.users, -1), items, offsets, ratings, times)


def _arrays(queries: Queries) -> tuple[Any, Any, Any]:
    return queries.items, queries.ratings, queries.times


def _joined(one: Any, two: Any) -> Any:
    return None if one is None or two is None else np.concatenate([one, two])


def _appended(base: Queries, more: GroundTruth, num_users: int) -> Queries:
    """The queries with each user's items of ``more`` after the history (no loop: there may be a million users)."""
    position = np.full(num_users, -1, np.int64)
    position[more.users] = np.arange(len(more))
    indices = np.where(base.users >= 0, position[base.users], -1)
    picked = more.take(indices[indices >= 0])
    added = np.zeros(len(base), np.int64)
    added[indices >= 0] = np.diff(picked.offsets)
    own = np.asarray(base.lengths(), np.int64)
    offsets = np.concatenate([[0], np.cumsum(own + added)]).astype(np.int64)
    items = np.empty(int(offsets[-1]), np.int32)
    places = np.arange(len(base.items)) + np.repeat(offsets[:-1] - base.offsets[:-1], own)
    items[places] = base.items
    ratings = None
    if base.ratings is not None:  # a target's rating is not kept: it is unknown
        ratings = np.full(len(items), np.nan, np.float32)
        ratings[places] = base.ratings
    times = None
    if base.times is not None and picked.times is not None:
        times = np.empty(len(items), np.int64)
        times[places] = base.times
    starts = (offsets[:-1] + own)[indices >= 0]
    behind = np.arange(len(picked.items)) + np.repeat(starts - picked.offsets[:-1], np.diff(picked.offsets))
    items[behind] = picked.items
    if times is not None and picked.times is not None:
        times[behind] = picked.times
    return Queries(base.users, items, offsets, ratings, times)
