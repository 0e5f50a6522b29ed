"""In whose lists an item comes out: its place among all items for a sample of the users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interlingua.contracts.scorer import BoolArray, Scorer
from interlingua.data.queries import IntArray, Queries
from interlingua.runtime.cancel import check

BLOCK_CELLS = 4_000_000
"""scores in memory at once"""
MOST_CELLS = 20_000_000
"""scores of a whole question: the larger the catalogue, the fewer users"""


@dataclass(frozen=True)
class Reach:
    """Places of one item."""

    users: IntArray
    """(n,) places in the sample of the users that have not had it"""
    places: IntArray
    """(n,) its place in the list of each, from 1"""
    had: int
    """users of the sample that have had it"""


def users_for(num_users: int, num_items: int, most: int, seed: int = 0) -> IntArray:
    """Indices of a sample of users, always the same: at most ``most``, and fewer of a large catalogue."""
    count = min(num_users, most, max(MOST_CELLS // max(num_items, 1), 1))
    return np.sort(np.random.default_rng(seed).permutation(num_users)[:count])


def reach(scorer: Scorer, queries: Queries, seen: Queries, item: int, closed: BoolArray | None = None) -> Reach:
    """The places of an item in the lists of B users, without what each has had and without ``closed`` (I,) items.

    Items of equal score count as before it.
    """
    places, had = np.zeros(len(queries), np.int64), np.zeros(len(queries), np.bool_)
    block = max(1, BLOCK_CELLS // scorer.num_items)
    for start in range(0, len(queries), block):
        check()
        part, own = queries.slice(start, start + block), seen.slice(start, start + block)
        scores = np.array(scorer.score(part, None), np.float32)
        score = scores[:, item].copy()
        owner = np.repeat(np.arange(len(own)), own.lengths())
        here = np.bincount(owner[own.items == item], minlength=len(own)) > 0
        scores[owner, own.items] = -np.inf
        if closed is not None:
            scores[:, closed] = -np.inf
        scores[:, item] = score
        places[start : start + block], had[start : start + block] = (scores >= score[:, None]).sum(axis=1), here
    users = np.flatnonzero(~had)
    return Reach(users, places[users], int(had.sum()))
