"""Retrieve with a fast scorer, order with a slow one: full-catalogue ranking by a language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.scorer import BoolArray, Scorer, TopK, Towers
from interlingua.data.queries import IntArray, Queries
from interlingua.retrieval.best import best_of_scores
from interlingua.retrieval.quota import Quota, best_with


@dataclass(frozen=True)
class Candidates:
    """Results of :meth:`RetrieveThenRerank.candidates` for B queries."""

    items: npt.NDArray[np.int64]
    """(B, n) item indices, best first; -1 where a query has fewer unseen items"""
    scores: FloatArray
    """(B, n) the deciding stage's score"""
    retrieved: FloatArray
    """(B, n) the retriever's score of the same items"""

    def at(self, places: IntArray) -> Candidates:
        """The items at some places (B, m) of each list."""
        taken = [np.take_along_axis(part, places, axis=1) for part in (self.items, self.scores, self.retrieved)]
        return Candidates(taken[0].astype(np.int64), taken[1].astype(np.float32), taken[2].astype(np.float32))


class RetrieveThenRerank(Scorer):
    """A scorer whose first ``n`` places are ordered by a second scorer.

    Args:
        retriever: ranks the whole catalogue.
        ranker: orders the retrieved items; None leaves the retriever's order.
        n: how many items the ranker sees.
        repeat: items of the query's own history are retrieved too.
    """

    def __init__(self, retriever: Scorer, ranker: Scorer | None, n: int, *, repeat: bool = False) -> None:
        self.retriever, self.ranker, self.repeat = retriever, ranker, repeat
        self.num_items = retriever.num_items
        self.n = min(n, self.num_items)

    def towers(self) -> Towers | None:
        """The retriever's, if nothing reranks; else None: reranked scores are not products of vectors."""
        return self.retriever.towers() if self.ranker is None else None

    def score_unseen(self, queries: Queries, items: IntArray | None = None) -> FloatArray | None:
        """The retriever's, if nothing reranks."""
        return self.retriever.score_unseen(queries, items) if self.ranker is None else None

    def with_repeats(self) -> RetrieveThenRerank:
        """The same stages, with items of the history among the retrieved ones."""
        return RetrieveThenRerank(self.retriever.with_repeats(), self.ranker, self.n, repeat=True)

    def candidates(
        self, queries: Queries, n: int | None = None, allowed: BoolArray | None = None, *,
        repeat: bool | None = None, seen: Queries | None = None, ties: IntArray | None = None,
        quota: Quota | None = None,
    ) -> Candidates:  # fmt: skip
        """The best ``n`` items that are not in the query's own history (with ``repeat``: the best of all).

        Args:
            queries: B users with histories.
            n: how many; default: all that the ranker sees. The ranker sees more where more are asked for.
            allowed: (I,) items that may come out; None: all.
            repeat: items of the history may come out too; default: as the cascade was made.
            seen: B users with what may not come out for each; None: their own histories.
            ties: (I,) decides between equal scores, where no ranker does: see :func:`interlingua.retrieval.best.best`.
            quota: of what the ranker sees and of what comes out: the best such list of what it sees.
        """
        wide = (n or self.n) if self.ranker is None else max(self.n, n or 0)
        again = self.repeat if repeat is None else repeat
        last = ties if self.ranker is None else None
        found = best_with(self.retriever, queries, wide, quota, allowed=allowed, repeat=again, seen=seen, ties=last)
        if quota is None:
            return self._ordered(queries, found, n or self.n)
        ordered = self._ordered(queries, found, wide)
        return ordered.at(quota.places(ordered.items, n or self.n))

    def _ordered(self, queries: Queries, top: TopK, n: int) -> Candidates:
        """The first ``n`` retrieved items, in the ranker's order."""
        scores = top.scores
        if self.ranker is not None and top.indices.size:
            scores = np.array(self.ranker.score(queries, np.maximum(top.indices, 0)), np.float32)
        scores = np.where(top.indices < 0, -np.inf, scores).astype(np.float32)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :n]
        items, retrieved = np.take_along_axis(top.indices, order, axis=1), np.take_along_axis(top.scores, order, axis=1)
        return Candidates(items, np.take_along_axis(scores, order, axis=1), retrieved)

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Candidates: the ranker's scores. Whole catalogue: its order for n items, above the retriever's rest."""
        if items is not None:
            return (self.retriever if self.ranker is None else self.ranker).score(queries, items)
        base = np.array(self.retriever.score(queries), np.float32)
        if self.ranker is None:
            return base
        listed = self._ordered(queries, best_of_scores(base.copy(), queries, self.n, repeat=self.repeat), self.n)
        highest = np.max(base, axis=1, keepdims=True, initial=0.0, where=np.isfinite(base))
        places = (highest + np.arange(self.n, 0, -1, dtype=np.float32)[None, :]).astype(np.float32)
        who, columns = np.nonzero(listed.items >= 0)
        base[who, listed.items[who, columns]] = places[who, columns]
        return base


def diversified(
    listed: Candidates, categories: Sequence[frozenset[str]], k: int, weight: float, quota: Quota | None = None
) -> Candidates:
    """The k items of each list that together have high scores and different categories, chosen one after the other.

    Controllable aggregation of Cen et al. 2020 (ComiRec, arXiv 2005.09347, algorithm 2): the next item is the one with
    the highest ``score + weight * (chosen items of another category)``. **Deviations:** an item may have several
    categories, so "another category" is one minus their overlap (Jaccard); scores are standardised within a list, so
    that one weight means the same for every model.

    Args:
        listed: B lists, longer than k, or nothing can be exchanged.
        categories: (I,) each item's categories.
        k: how many are chosen.
        weight: 0 keeps the order by score.
        quota: once as many places are left as members are still needed, members alone are chosen from.
    """
    least = 0 if quota is None else quota.least(k)
    member = np.zeros_like(listed.items, np.bool_) if quota is None else quota.among(listed.items)
    orders = [
        _diverse(items, scores, categories, k, weight, own, min(least, int(own.sum())))
        for items, scores, own in zip(listed.items, listed.scores, member, strict=True)
    ]
    order = np.stack(orders) if orders else np.zeros((0, min(k, listed.items.shape[1])), np.int64)
    return listed.at(order)


def _diverse(
    items: IntArray, scores: FloatArray, categories: Sequence[frozenset[str]], k: int, weight: float,
    member: BoolArray, least: int,
) -> npt.NDArray[np.int64]:  # fmt: skip
    """(k,) places of the chosen items of one list, at least ``least`` of them with ``member``."""
    real = items >= 0
    spread = float(scores[real].std()) if real.any() else 0.0
    gain = np.where(real, scores, 0.0) / (spread or 1.0)
    gain = np.where(real, gain, -np.inf)
    chosen: list[int] = []
    for left in range(min(k, len(items)), 0, -1):
        needed = least - int(member[chosen].sum())
        choice = np.where(member, gain, -np.inf) if needed >= left else gain
        place = int(choice.argmax())  # of equals the first, which had the better place
        if not np.isfinite(gain[place]):  # only places without an item are left
            place = next(p for p in range(len(items)) if p not in chosen)
        chosen.append(place)
        if items[place] < 0:
            continue
        own = categories[items[place]]
        gain += [weight * _apart(own, categories[item]) if item >= 0 else 0.0 for item in items]
        gain[chosen] = -np.inf
    return np.array(chosen, np.int64)


def _apart(one: frozenset[str], other: frozenset[str]) -> float:
    """1 for items without a common category, 0 for the same categories; 0 where either has none."""
    return 1.0 - len(one & other) / len(one | other) if one and other else 0.0
