"""Full ranking at 100,000 users x 100,000 items: memory is that of one block, and no users x items matrix exists."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from interlingua.contracts.scorer import Scorer
from interlingua.data.interactions import Interactions
from interlingua.data.split import GroundTruth, Split
from interlingua.evaluate.protocol import evaluate
from interlingua.retrieval.best import BLOCK_BYTES

USERS = ITEMS = 100_000


class Vectors(Scorer):
    """Eight-dimensional dot products in numpy, whose allocations tracemalloc sees."""

    num_items = ITEMS

    def __init__(self):
        rng = np.random.default_rng(0)
        self.users = rng.normal(size=(USERS, 8)).astype(np.float32)
        self.items = rng.normal(size=(ITEMS, 8)).astype(np.float32)
        self.largest = 0

    def score(self, queries, items=None):
        assert items is None
        scores = self.users[queries.users] @ self.items.T
        self.largest = max(self.largest, scores.nbytes)
        return scores


def large_split():
    rng = np.random.default_rng(1)
    users = np.repeat(np.arange(USERS), 5)
    ids = np.arange(USERS).astype(str), np.arange(ITEMS).astype(str)
    train = Interactions.of(*ids, users, rng.integers(0, ITEMS, len(users)))
    empty = GroundTruth.of(np.zeros(0, np.int64), np.zeros(0, np.int64))
    test = GroundTruth.of(np.arange(USERS), rng.integers(0, ITEMS, USERS))
    return Split(train, empty, test, "leave-one-out")


def peak_of(scorer, split, max_users):
    tracemalloc.start()
    report = evaluate(scorer, split, max_users=max_users, depth=ITEMS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, report


def test_memory_is_one_block_whatever_the_number_of_users():
    scorer, split = Vectors(), large_split()
    split.train.offsets, split.train.item_counts  # noqa: B018 (cached by the data, not part of the evaluation)
    peak, report = peak_of(scorer, split, 1000)
    assert report.n_users == 1000
    assert scorer.largest <= BLOCK_BYTES
    assert peak < 2.5 * BLOCK_BYTES  # 1,000 x 100,000 scores alone would be 6 blocks
    # random vectors: the rank is uniform, so half of the users have it in the first half
    assert 0.45 < (report.ranks.first <= ITEMS / 2).mean() < 0.55


@pytest.mark.slow
def test_all_users_and_items():
    scorer, split = Vectors(), large_split()
    peak, report = peak_of(scorer, split, None)
    assert report.n_users == USERS
    assert peak < 5 * BLOCK_BYTES  # one block, and a few numbers per user; the whole matrix would be 640 blocks
