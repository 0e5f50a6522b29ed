"""Lists of which a least fraction comes from some of the items: the best that there are.

A list of k has at least ``m = ceil(fraction * k)`` members of a set. Its best k items are the best m members and, of
all that is left, the best k - m. **Proof.** Take any list with at least m members. If one of the best m members is
missing, the list has a member that is not among these (it has m or more, and not all of these); exchanging it for the
missing one lowers no place and keeps the count. If then the rest is not the best of what is left, exchanging an item
of the rest for a better one of what is left keeps the m members. So no list has a higher score at any place of its
sorted scores. It follows that the best k of all items are the answer where they have m members; where they have fewer,
all best m members join, and the last of the others go: what is left starts with those. Where fewer than m members may
come out, all of them do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interlingua.contracts.scorer import BoolArray, Scorer, TopK
from interlingua.data.queries import IntArray, Queries
from interlingua.retrieval.best import best


@dataclass(frozen=True)
class Quota:
    """At least a fraction of each list."""

    fraction: float
    """0 to 1"""
    members: BoolArray
    """(I,) the items of which it has so many"""

    def least(self, k: int) -> int:
        """Members of a list of k."""
        return int(np.ceil(self.fraction * k - 1e-9))

    def among(self, indices: IntArray) -> BoolArray:
        """(B, n) True for members; -1 is none."""
        return (indices >= 0) & self.members[np.maximum(indices, 0)]

    def counts(self, indices: IntArray) -> IntArray:
        """(B,) members of each list (B, n)."""
        return np.asarray(self.among(indices).sum(axis=1), np.int64)

    def places(self, indices: IntArray, k: int) -> IntArray:
        """(B, min(k, n)) places of the chosen items in lists (B, n), best first: the best members, the best rest."""
        member, least, n = self.among(indices), self.least(k), indices.shape[1]
        ahead = member & (np.cumsum(member, axis=1) <= least)
        rest = np.where(ahead, 0, np.where(indices >= 0, 1, 2)) * n + np.arange(n)  # of the rest items before gaps
        chosen = np.argsort(rest, axis=1, kind="stable")[:, :k]
        return np.sort(chosen, axis=1)


def best_with(
    scorer: Scorer, queries: Queries, k: int, quota: Quota | None, *, allowed: BoolArray | None = None,
    repeat: bool = False, seen: Queries | None = None, ties: IntArray | None = None,
) -> TopK:  # fmt: skip
    """:func:`interlingua.retrieval.best.best` with a quota; see the module."""
    found = best(scorer, queries, k, allowed=allowed, repeat=repeat, seen=seen, ties=ties)
    least = 0 if quota is None else quota.least(k)
    if quota is None or not least or not found.indices.size:
        return found
    lacking = np.flatnonzero(quota.counts(found.indices) < least)
    if not len(lacking):
        return found
    may = quota.members if allowed is None else quota.members & allowed
    own = None if seen is None else seen.take(lacking)
    some = best(scorer, queries.take(lacking), least, allowed=may, repeat=repeat, seen=own, ties=ties)
    both = TopK(*(np.concatenate(pair, axis=1) for pair in zip(_pair(some), _pair(found, lacking), strict=True)))
    chosen = _joined(both, some.indices.shape[1], k, ties)
    indices, scores = found.indices.copy(), found.scores.copy()
    indices[lacking], scores[lacking] = chosen.indices, chosen.scores
    return TopK(indices, scores)


def _pair(found: TopK, some: IntArray | None = None) -> tuple[IntArray, np.ndarray]:
    return (found.indices, found.scores) if some is None else (found.indices[some], found.scores[some])


def _joined(both: TopK, first: int, k: int, ties: IntArray | None) -> TopK:
    """The first columns, and of the others as many as there is room for, in the order of :func:`best`."""
    width = min(k, both.indices.shape[1] - first)
    indices = np.full((len(both.indices), width), -1, np.int64)
    scores = np.full((len(both.indices), width), -np.inf, np.float32)
    for row, (items, values) in enumerate(zip(both.indices, both.scores, strict=True)):
        members = items[:first][items[:first] >= 0]
        places = np.flatnonzero((items >= 0) & ~((np.arange(len(items)) >= first) & np.isin(items, members)))[:width]
        more = np.zeros(len(places)) if ties is None else -ties[items[places]]
        order = places[np.lexsort((items[places], more, -values[places]))]
        indices[row, : len(order)], scores[row, : len(order)] = items[order], values[order]
    return TopK(indices, scores)
