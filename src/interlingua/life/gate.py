"""Whether a new version may serve: it and the served one, measured on the same newest events, user by user.

What is compared. The new version's split holds out a test part by the recipe's own rule (each user's last event, the
last tenth of the time, ...), which the new version has not been trained on. Of it those events are targets that the
served version cannot have seen either: they reached the store after its data were made. Where fewer than
:data:`FEW_USERS` users have one, all test targets count on which the served version was not trained.

Both versions answer the same queries (a user's events before the target) over the same candidates, the new version's
catalogue, under one protocol. The served version is asked as it serves: with the store's items, with its vector of a
user whose history it knows, and by the history alone where that has grown. What it has no score for it cannot
recommend: such items come last.

The gate. The difference of a metric, new minus served, has a 95 % interval (paired bootstrap over users, as in
:mod:`interlingua.evaluate.compare`). The new version is refused where the whole interval is below zero: it is worse by
more than chance explains. With few users the interval is wide, and a small loss passes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.scorer import Scorer
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries
from interlingua.data.split import GroundTruth
from interlingua.errors import DataError
from interlingua.evaluate.compare import compare
from interlingua.evaluate.named import lower_is_better, parse
from interlingua.evaluate.protocol import evaluate
from interlingua.evaluate.rules import parse_protocol, scorer_for
from interlingua.runs.scorers import scorer_of
from interlingua.runs.shelf import Shelf

if TYPE_CHECKING:
    from interlingua.runs.session import Session
    from interlingua.store import Store

FEW_USERS = 30
"""fewer with new events than this: older events that neither version was trained on count too"""
METRIC = "ndcg@10"


@dataclass(frozen=True)
class Verdict:
    """The comparison of two versions."""

    passed: bool
    metric: str
    new: float
    """mean over users"""
    served: float
    difference: float
    """new minus served"""
    interval: tuple[float, float]
    """95 %, of the difference"""
    users: int
    targets: str
    """which events were the targets, in words"""
    protocol: str

    @property
    def said(self) -> str:
        """In a line."""
        low, high = self.interval
        how = "not worse" if self.passed else "worse"
        return (
            f"{self.metric} {self.new:.4f}, served {self.served:.4f}: {self.difference:+.4f} ({low:+.4f} to {high:+.4f}"
            f"), {how}; {self.users:,} users, {self.targets}"
        )


class Mapped(Scorer):
    """A version's scorer over the items and users of another dataset, matched by their ids."""

    def __init__(self, scorer: Scorer, own: Interactions, known: Interactions, other: Interactions) -> None:
        """A scorer for queries of ``other``.

        Args:
            scorer: of the version.
            own: items that it scores.
            known: all events that the version's data have.
            other: the dataset that is asked about.
        """
        self.scorer, self.num_items = scorer, other.num_items
        self.ranks_catalogue, self.welcomes_newcomers = scorer.ranks_catalogue, scorer.welcomes_newcomers
        self._places, self._known, self._other = (own, known, other)
        self._items = _indices(own.item_indices, other.item_ids)  # (I) row here -> row of the version, -1: none
        self._users = _indices(known.user_indices, other.user_ids)
        self._pairs = np.unique(known.users.astype(np.int64) * own.num_items + known.items)

    def with_repeats(self) -> Scorer:
        """See :class:`Scorer`."""
        return Mapped(self.scorer.with_repeats(), self._places, self._known, self._other)

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """See :class:`Scorer`; what the version does not know is below everything that it does."""
        here = self._queries(queries)
        if items is None:
            scored, found = self.scorer.score(here), self._items
            picked = scored[:, np.maximum(found, 0)]
            missing = np.broadcast_to(found < 0, picked.shape)
        else:
            places = self._items[items]
            picked, missing = self.scorer.score(here, np.maximum(places, 0)), places < 0
        picked = np.array(picked, np.float32)
        finite = np.where(np.isfinite(picked) & ~missing, picked, np.inf).min(axis=1, initial=np.inf)
        lowest = np.where(np.isfinite(finite), finite, 0.0).astype(np.float32)
        below = lowest - np.maximum(1.0, np.abs(lowest))
        return np.where(missing, below[:, None], picked).astype(np.float32)

    def _queries(self, queries: Queries) -> Queries:
        """With the version's rows; users whose history it does not wholly have are strangers with a history."""
        items = self._items[queries.items]
        owner = np.repeat(np.arange(len(queries)), queries.lengths())
        users = np.where(queries.users >= 0, self._users[np.maximum(queries.users, 0)], -1)
        pairs = users[owner].astype(np.int64) * self._places.num_items + items
        new = (users[owner] >= 0) & ((items < 0) | ~np.isin(pairs, self._pairs))
        users[np.unique(owner[new])] = -1
        mask = items >= 0
        counts = np.bincount(owner[mask], minlength=len(queries))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        moved = queries.at(mask, users, offsets)
        return replace(moved, items=items[mask].astype(np.int32))


def judge(new: Session, served: Session, store: Store | None = None, metric: str = METRIC) -> Verdict:
    """See the module.

    Args:
        new: the run that was just trained.
        served: the run that serves.
        store: whose items the served version knows.
        metric: of ranks, ``name@k``.

    Raises:
        DataError: the test part holds nothing that the served version was not trained on.
    """
    parse(metric)
    session = Shelf(served, store).session
    split, data = new.data.split, served.data
    repeats = new.recipe.data.filter.duplicates == "keep"
    targets, words = comparable(split.test, split.train, data.interactions, data.split.train, repeats)
    chosen = next((p for p in new.recipe.evaluate.protocols if "ranks" in parse_protocol(p).judges), "full")
    old = Mapped(scorer_of(session), session.data.split.train, data.interactions, split.train)
    reports = {
        name: evaluate(
            scorer_for(scorer, chosen), replace(split, test=targets), "test", protocol=chosen, metrics=(metric,),
            slices=False, seed=new.recipe.evaluate.negatives_seed, label=f"measure the {name} version",
        )
        for name, scorer in {"new": scorer_of(new), "served": old}.items()
    }  # fmt: skip
    (test,) = compare(reports, metrics=(metric,), reference="served").tests
    low, high = test.interval
    return Verdict(
        passed=(low <= 0) if lower_is_better(metric) else (high >= 0), metric=metric,
        new=reports["new"].metrics[metric], served=reports["served"].metrics[metric], difference=test.difference,
        interval=(low, high), users=reports["new"].n_users, targets=words, protocol=reports["new"].protocol,
    )  # fmt: skip


def comparable(
    test: GroundTruth, train: Interactions, known: Interactions, trained: Interactions, repeats: bool = False
) -> tuple[GroundTruth, str]:
    """The targets of ``test`` that neither version has seen, and in words which they are.

    Args:
        test: held-out events of the new version's data.
        train: the new version's, for ids.
        known: all events of the served version's data.
        trained: those that it was trained on.
        repeats: users have items again, so that an event is known by its time too.
    """
    fresh = test.filter(~_among(test, train, known, repeats))
    users = int((np.diff(fresh.offsets) > 0).sum())
    if users >= FEW_USERS:
        return fresh, "events since the served version"
    unseen = test.filter(~_among(test, train, trained, repeats))
    if not len(unseen.items):
        raise DataError(
            "the served version was trained on everything that the new version's test part holds: there is nothing to "
            "compare them on"
        )
    return unseen, f"held-out events ({users} users have one since the served version)"


def _among(test: GroundTruth, train: Interactions, events: Interactions, repeats: bool = False) -> Any:
    """(T,) whether a target is among some events, by ids, and with ``repeats`` by time."""
    items, users = _indices(events.item_indices, train.item_ids), _indices(events.user_indices, train.user_ids)
    base = events.num_items
    known = events.users.astype(np.int64) * base + events.items
    who, what = users[test.users[test.owners]], items[test.items]
    targets = who * base + what
    if repeats and test.times is not None:
        moments, place = np.unique(np.concatenate([events.times, test.times]), return_inverse=True)
        known = known * len(moments) + place[: len(known)]
        targets = targets * len(moments) + place[len(known) :]
    return (who >= 0) & (what >= 0) & np.isin(targets, np.unique(known))


def _indices(known: Any, ids: Any) -> Any:
    """(N,) int64 rows of ids in a mapping id -> row; -1: it has none."""
    return np.fromiter((known.get(each, -1) for each in ids.tolist()), np.int64, len(ids))
