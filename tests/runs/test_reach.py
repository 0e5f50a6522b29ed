"""An item's places in users' lists, against the lists themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interlingua.contracts.scorer import TableScorer
from interlingua.data.queries import Queries
from interlingua.retrieval.best import best
from interlingua.runs import reach as places
from interlingua.runs.reach import reach, users_for


def test_places_are_those_of_the_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "BLOCK_CELLS", 100)  # several blocks
    random = np.random.default_rng(0)
    users, items = torch.randn(30, 4), torch.randn(40, 4)
    scorer = TableScorer(items, lambda queries: users[torch.from_numpy(np.asarray(queries.users))])
    histories = [sorted(random.permutation(40)[:5].tolist()) for _ in range(30)]
    queries = Queries.of(histories, np.arange(30))
    closed = np.zeros(40, np.bool_)
    closed[[2, 9]] = True
    item = 17
    found = reach(scorer, queries, queries, item, closed)
    lists = best(scorer, queries, 40, allowed=~closed, seen=queries).indices
    expected = {user: lists[user].tolist().index(item) + 1 for user in range(30) if item not in histories[user]}
    assert dict(zip(found.users.tolist(), found.places.tolist(), strict=True)) == expected
    assert found.had == 30 - len(expected) > 0


def test_the_sample_is_bounded_and_always_the_same() -> None:
    assert len(users_for(1000, 50, 200)) == 200
    assert len(users_for(7, 50, 200)) == 7
    assert len(users_for(1_000_000, 1_000_000, 200)) == 20
    assert np.array_equal(users_for(1000, 50, 200), users_for(1000, 50, 200))
