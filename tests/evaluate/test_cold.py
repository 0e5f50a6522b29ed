"""The protocol ``cold`` against a naive count, on a split that has cold items."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interlingua.contracts.scorer import TableScorer
from interlingua.data.sources.planted import generate
from interlingua.errors import DataError
from interlingua.evaluate.protocol import evaluate

PREPARED = generate(120, 80, split="item-cold")
SPLIT = PREPARED.split


def scorer(seed: int = 0) -> TableScorer:
    table = torch.randn(SPLIT.train.num_items, 16, generator=torch.Generator().manual_seed(seed))
    users = torch.randn(SPLIT.train.num_users, 16, generator=torch.Generator().manual_seed(seed + 1))
    return TableScorer(table, lambda queries: users[torch.as_tensor(queries.users)])


def test_targets_and_rivals_are_the_items_without_training_events():
    report = evaluate(scorer(), SPLIT, protocol="cold", metrics=["recall@20", "hit@1"], batch_users=1000)
    cold = SPLIT.train.item_counts == 0
    targets, queries = SPLIT.test, SPLIT.queries("test")
    scores = scorer().score(queries)
    found = []
    for row in range(len(targets)):
        own = targets.of_row(row)
        order = np.flatnonzero(cold)[np.argsort(-scores[row][cold], kind="stable")]
        found.append(np.isin(order[:20], own).sum() / len(own))
    assert report.metrics["recall@20"] == pytest.approx(np.mean(found))
    assert "among=items-without-training-events" in report.protocol
    assert report.n_targets == len(SPLIT.test.items)


def test_scores_of_other_items_do_not_matter():
    whole = scorer()
    loud = scorer()
    loud.bias = torch.as_tensor(np.where(SPLIT.train.item_counts == 0, 0.0, 100.0)).float()
    first, second = (evaluate(each, SPLIT, protocol="cold", resamples=0).metrics for each in (whole, loud))
    assert first == second
    assert evaluate(loud, SPLIT, protocol="full", resamples=0).metrics["recall@20"] == 0  # there they all stand above


def test_equal_scores_can_be_shared_out():
    flat = TableScorer(torch.zeros(SPLIT.train.num_items, 1), lambda queries: torch.zeros(len(queries), 1))
    report = evaluate(flat, SPLIT, protocol="cold+expected", metrics=["hit@1"], resamples=0)
    sizes = np.diff(SPLIT.test.offsets)
    cold = int((SPLIT.train.item_counts == 0).sum())
    assert report.metrics["hit@1"] == pytest.approx(np.mean(sizes / cold), rel=0.1)


def test_a_split_without_cold_targets_says_what_to_do():
    prepared = generate(60, 40, cold_share=0.0)
    table = torch.randn(prepared.split.train.num_items, 4)
    plain = TableScorer(table, lambda queries: torch.zeros(len(queries), 4))
    with pytest.raises(DataError, match="split=item-cold"):
        evaluate(plain, prepared.split, protocol="cold")
