"""Retrieve with something fast, order with something slow: full-catalogue ranking by a language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from interlingua.core import FloatArray, IntArray, Queries, Ranker
from interlingua.evaluate.protocols import parse_protocol


@dataclass(frozen=True)
class Shortlist:
    """What :meth:`Cascade.shortlist` decided for B queries."""

    items: npt.NDArray[np.int64]
    """(B, n) item rows, best first; -1 where a query has fewer unseen items"""
    scores: FloatArray
    """(B, n) the deciding stage's score"""
    retrieved: FloatArray
    """(B, n) the retriever's score of the same items"""


class Cascade:
    """A :class:`interlingua.core.Ranker` whose first ``n`` places are ordered by a second ranker.

    Args:
        retrieve: scores the whole catalogue, (B, I).
        reader: orders the retrieved items; None leaves the retriever's order.
        n: how many items the reader sees.
        repeat: items of the query's own history are retrieved too.
    """

    def __init__(
        self,
        retrieve: Callable[[Queries], FloatArray],
        reader: Ranker | None,
        n: int,
        num_items: int,
        *,
        repeat: bool = False,
    ) -> None:
        self.retrieve, self.reader, self.num_items, self.repeat = retrieve, reader, num_items, repeat
        self.n = min(n, num_items)

    def with_repeats(self) -> Cascade:
        """The same stages, with items of the history among what is retrieved."""
        return Cascade(self.retrieve, self.reader, self.n, self.num_items, repeat=True)

    def shortlist(
        self, queries: Queries, n: int | None = None, hidden: IntArray | None = None, *, repeat: bool | None = None
    ) -> Shortlist:
        """The best ``n`` items that are not in the query's own history (with ``repeat``: the best of all).

        Args:
            queries: B users with histories.
            n: how many; default: all that the reader sees. The reader sees more where more are asked for.
            hidden: item rows that must not come out.
            repeat: items of the history may come out too; default: as the cascade was made.
        """
        base = np.array(self.retrieve(queries), np.float32)
        if not (self.repeat if repeat is None else repeat):
            mask_seen(base, queries)
        if hidden is not None and len(hidden):
            base[:, hidden] = -np.inf
        top = top_items(base, max(self.n, n or 0))
        first = np.take_along_axis(base, np.maximum(top, 0), axis=1)
        scores = first
        if self.reader is not None:
            scores = np.array(self.reader.score(queries, np.maximum(top, 0)), np.float32)
        scores = np.where(top < 0, -np.inf, scores)
        order = np.argsort(-scores, axis=1, kind="stable")[:, : n or self.n]
        picked = np.take_along_axis(top, order, axis=1)
        return Shortlist(picked, np.take_along_axis(scores, order, axis=1), np.take_along_axis(first, order, axis=1))

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Candidates: the reader's scores. Whole catalogue: its order for n items, above the retriever's rest."""
        if items is not None:
            ranker_scores = self.reader.score(queries, items) if self.reader is not None else None
            if ranker_scores is not None:
                return ranker_scores
            return np.take_along_axis(self.retrieve(queries), np.asarray(items), axis=1)
        base = np.array(self.retrieve(queries), np.float32)
        if self.reader is None:
            return base
        listed = self.shortlist(queries)
        highest = np.max(base, axis=1, keepdims=True, initial=0.0, where=np.isfinite(base))
        places = (highest + np.arange(self.n, 0, -1, dtype=np.float32)[None, :]).astype(np.float32)
        rows, columns = np.nonzero(listed.items >= 0)
        base[rows, listed.items[rows, columns]] = places[rows, columns]
        return base


def asked_by(ranker: Ranker, protocol: str) -> Ranker:
    """The ranker as a protocol asks it: what retrieves for a reader must not leave out what is to be ranked."""
    if isinstance(ranker, Cascade) and parse_protocol(protocol).masked == "nothing":
        return ranker.with_repeats()
    return ranker


def diversified(listed: Shortlist, categories: Sequence[frozenset[str]], k: int, weight: float) -> Shortlist:
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
    """
    rows = [
        _diverse(items, scores, categories, k, weight)
        for items, scores in zip(listed.items, listed.scores, strict=True)
    ]
    order = np.stack(rows) if rows else np.zeros((0, min(k, listed.items.shape[1])), np.int64)
    taken = [np.take_along_axis(part, order, axis=1) for part in (listed.items, listed.scores, listed.retrieved)]
    return Shortlist(taken[0].astype(np.int64), taken[1].astype(np.float32), taken[2].astype(np.float32))


def _diverse(
    items: IntArray, scores: FloatArray, categories: Sequence[frozenset[str]], k: int, weight: float
) -> npt.NDArray[np.int64]:
    """(k,) places of the chosen items of one list."""
    real = items >= 0
    spread = float(scores[real].std()) if real.any() else 0.0
    gain = np.where(real, scores, 0.0) / (spread or 1.0)
    gain = np.where(real, gain, -np.inf)
    chosen: list[int] = []
    for _ in range(min(k, len(items))):
        place = int(gain.argmax())  # of equals the first, which had the better place
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


def mask_seen(scores: FloatArray, queries: Queries) -> None:
    """Sets the score of every item in a query's own history to minus infinity, in place. ``scores``: (B, I)."""
    scores[np.repeat(np.arange(len(queries)), queries.lengths()), queries.items] = -np.inf


def top_items(scores: FloatArray, n: int) -> npt.NDArray[np.int64]:
    """(B, n) rows of the highest scores, best first; ties: lower row first; -1 where only masked items are left."""
    n = min(n, scores.shape[1])
    place = n - 1
    # a stable full sort only of those at or above the n-th value keeps ties deterministic without sorting everything
    bound = -np.partition(-scores, place, axis=1)[:, place]
    out = np.full((len(scores), n), -1, np.int64)
    for b in range(len(scores)):
        candidates = np.flatnonzero((scores[b] >= bound[b]) & np.isfinite(scores[b]))
        best = candidates[np.argsort(-scores[b, candidates], kind="stable")][:n]
        out[b, : len(best)] = best
    return out
