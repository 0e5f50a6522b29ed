"""Scorers whose scores are known item by item, for the tests of reasons."""

from __future__ import annotations

import numpy as np

from interlingua.contracts.scorer import Scorer
from interlingua.data.domain import Domain
from interlingua.testing.tiny_models import TITLES

MOVIE = Domain("movie", "watch", "watched")
NAN = float("nan")
CATEGORIES = ["Action|Sci-Fi", "Animation", "Animation|Comedy", "Crime", "Crime|Drama", *["Drama"] * 7]


class Additive(Scorer):
    """Each history item adds a known weight to each candidate's score; a constant per query must not matter."""

    num_items = len(TITLES)

    def __init__(self):
        self.weights = np.random.default_rng(0).normal(size=(self.num_items, self.num_items))

    def score(self, queries, items=None):
        full = np.stack(
            [self.weights[queries.history(b)].sum(0) + 100 * len(queries.history(b)) for b in range(len(queries))]
        )
        full = full.astype(np.float32)
        return full if items is None else np.take_along_axis(full, np.asarray(items), 1)


class Fixed(Scorer):
    """A vector per known user, which no history changes; unknown users are the sum of their items."""

    num_items = len(TITLES)

    def __init__(self):
        self.table = np.random.default_rng(1).normal(size=(self.num_items, 4))
        self.users = np.random.default_rng(2).normal(size=(3, 4))

    def score(self, queries, items=None):
        rows = [self.users[u] if u >= 0 else self.table[queries.history(b)].sum(0) for b, u in enumerate(queries.users)]
        full = (np.stack(rows) @ self.table.T).astype(np.float32)
        return full if items is None else np.take_along_axis(full, np.asarray(items), 1)
