"""All scores of a block at once: the same results as by blocks of items, to the last bit, whatever the scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interlingua.data.queries import Queries
from interlingua.errors import DataError
from interlingua.retrieval import whole
from interlingua.retrieval.best import by_products
from interlingua.retrieval.topk import top_k
from interlingua.retrieval.whole import suits, top_k_at_once

TYPES = (torch.float32, torch.bfloat16)


def world(kind: str, users: int, items: int, dim: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    queries, table = rng.normal(size=(users, dim)), rng.normal(size=(items, dim))
    if kind == "whole numbers":  # many equal scores
        queries, table = rng.integers(-1, 2, queries.shape), rng.integers(-1, 2, table.shape)
    elif kind == "one direction":  # in rising order, the best at one end
        table = np.sort(np.abs(table), axis=0)
        queries = np.abs(queries)
    elif kind == "below zero":
        queries, table = np.abs(queries), -np.abs(table)
    elif kind == "close":  # nearer to each other than the screening can tell
        table = 1 + 1e-6 * table
    return torch.from_numpy(queries.astype(np.float32)), torch.from_numpy(table.astype(np.float32))


@settings(max_examples=40)
@given(
    st.sampled_from(["random", "whole numbers", "one direction", "below zero", "close"]),
    st.sampled_from(TYPES), st.integers(1, 3), st.integers(0, 1000), st.booleans(), st.integers(0, 3),
)  # fmt: skip
def test_as_by_blocks(kind: str, screen: torch.dtype, k: int, seed: int, biased: bool, hiding: int) -> None:
    queries, table = world(kind, 70, 400, 5, seed)
    rng = np.random.default_rng(seed)
    bias = torch.from_numpy(rng.normal(size=400).astype(np.float32)) if biased else None
    seen = Queries.of([rng.choice(400, 4, replace=False) for _ in range(70)])
    hidden = torch.from_numpy(rng.random(400) < (0, 0.3, 0.99, 1)[hiding]) if hiding else None
    assert suits(queries, table, k)
    found = top_k_at_once(queries, table, k, bias=bias, seen=seen, hidden=hidden, screen=screen)
    expected = top_k(queries, table, k, bias=bias, seen=seen, hidden=hidden)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize("screen", TYPES)
def test_few_queries_need_the_other_way(screen: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of random vectors the fixed number of groups is enough, in several blocks; of equal ones it is not."""
    queries, table = world("random", 300, 4000, 32, 1)
    asked = []
    monkeypatch.setattr(
        whole, "top_k", lambda queries, *rest, **options: asked.append(len(queries)) or top_k(queries, *rest, **options)
    )
    found = top_k_at_once(queries, table, 20, bias=None, seen=None, hidden=None, screen=screen)
    np.testing.assert_array_equal(found.indices, top_k(queries, table, 20).indices)
    assert sum(asked) <= 3
    top_k_at_once(queries, torch.ones_like(table), 20, bias=None, seen=None, hidden=None, screen=screen)
    assert asked[-1] == 300


def test_the_one_answer_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, table = world("random", 40, 2000, 8, 2)
    expected = top_k(queries, table, 5)
    monkeypatch.setattr("interlingua.retrieval.best.top_k", None)
    found = by_products(queries, table, 5)
    np.testing.assert_array_equal(found.indices, expected.indices)


def test_values_that_cannot_be_ranked_are_refused() -> None:
    queries, table = world("random", 40, 2000, 8, 2)
    table[7, 1] = float("nan")
    with pytest.raises(DataError, match="items has values that are not finite"):
        top_k_at_once(queries, table, 5, bias=None, seen=None, hidden=None)
