"""Promises of every metric: a number for each user or one for all, whatever the order of users."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from interlingua import registry
from interlingua.data.prepared import Dataset
from interlingua.data.queries import Queries
from interlingua.evaluate.accuracy import Ranks
from interlingua.evaluate.judged import Answers, ItemFacts, Judged, LabelledScores, Metric
from interlingua.evaluate.named import lower_is_better, parse

NAMES = registry.names("metric")
USERS, LENGTH = 40, 10


def written(name: str) -> str:
    """With a cut-off, where the metric has one."""
    return f"{name}@5" if registry.find("metric", name).cut else name


@pytest.fixture(scope="module")
def judged(world: Dataset, table: Any) -> Judged:
    """Random lists, ranks, labelled pairs and answers of some users of the world."""
    rng, split = np.random.default_rng(3), world.split
    who = rng.choice(len(split.test), USERS, replace=False)
    targets = split.test.take(who)
    queries = split.train.queries(targets.users)
    items = split.train.num_items
    lists = np.stack([rng.permutation(items)[:LENGTH] for _ in range(USERS)])
    categories = sp.csr_matrix((rng.random((items, 4)) < 0.4).astype(np.float32))
    owners = np.repeat(np.arange(USERS), 6)
    labels = LabelledScores(
        owners, np.tile([True, False, True, False, True, False], USERS), rng.normal(size=len(owners)), USERS
    )
    named = rng.integers(0, 4, USERS)
    answers = Answers(named, (named > 0) & (rng.random(USERS) < 0.5))
    return Judged(
        ranks=Ranks.of([[int(rank)] for rank in rng.integers(1, 15, USERS)]), lists=lists, labels=labels,
        answers=answers,
        targets=targets, queries=queries, train=split.train, facts=ItemFacts(categories, table.items.numpy()),
    )  # fmt: skip


def users_of(judged: Judged, indices: np.ndarray) -> Judged:
    """The same judgement of some users, in another order."""
    labels, ranks = judged.labels, judged.ranks
    assert labels is not None
    assert judged.answers is not None
    assert judged.lists is not None
    assert judged.targets is not None
    assert judged.queries is not None
    pairs = np.concatenate([np.flatnonzero(labels.owners == row) for row in indices])
    owners = np.repeat(np.arange(len(indices)), [int((labels.owners == row).sum()) for row in indices])
    of: Queries = judged.queries.take(indices)
    return replace(
        judged, ranks=Ranks.of([ranks.first[ranks.offsets[row] : ranks.offsets[row + 1]].tolist() for row in indices]),
        lists=judged.lists[indices], targets=judged.targets.take(indices), queries=of,
        labels=LabelledScores(owners, labels.labels[pairs], labels.scores[pairs], len(indices)),
        answers=Answers(judged.answers.named[indices], judged.answers.right[indices]),
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_it_is_found_under_its_name_and_says_which_way_is_better(name: str) -> None:
    metric, cut = parse(written(name))
    assert isinstance(metric, Metric)
    assert cut == (5 if metric.cut else 0)
    assert lower_is_better(written(name)) == (metric.better == "lower")
    assert metric.reads in ("ranks", "lists", "labels", "answers")


@pytest.mark.parametrize("name", NAMES)
def test_it_measures_a_number_for_each_user_or_one_for_all(name: str, judged: Judged) -> None:
    metric, cut = parse(written(name))
    found = metric.measure(judged, cut)
    if isinstance(found, np.ndarray):
        assert found.shape == (USERS,)
        assert np.isfinite(found).any()
        assert not np.isinf(found).any()
    else:
        assert np.isfinite(float(found))


@pytest.mark.parametrize("name", NAMES)
def test_users_in_another_order_have_the_same_numbers(name: str, judged: Judged) -> None:
    metric, cut = parse(written(name))
    order = np.random.default_rng(1).permutation(USERS)
    before, after = metric.measure(judged, cut), metric.measure(users_of(judged, order), cut)
    np.testing.assert_allclose(after, before[order] if isinstance(before, np.ndarray) else before, rtol=1e-9)


@pytest.mark.parametrize("name", [n for n in NAMES if registry.find("metric", n).reads == "ranks"])
def test_a_target_that_stands_higher_is_never_worse(name: str) -> None:
    metric, cut = parse(written(name))
    values = [float(metric.measure(Judged(Ranks.of([[rank]])), cut)[0]) for rank in range(1, 9)]
    worse = np.diff(values) >= -1e-12 if metric.better == "lower" else np.diff(values) <= 1e-12
    assert worse.all()
    assert values[0] != values[-1]
