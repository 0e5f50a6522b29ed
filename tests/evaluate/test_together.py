"""Intervals of numbers of all users together: weights count users as copies of them would, and cover what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss as sk_log_loss
from sklearn.metrics import roc_auc_score

from interlingua.data.interactions import Interactions
from interlingua.evaluate import together
from interlingua.evaluate.judged import Judged, LabelledScores
from interlingua.evaluate.named import measure, parse
from interlingua.evaluate.together import intervals_together

USERS, ITEMS = 30, 25
LABELS, LISTS = ("auc", "log-loss"), ("coverage@3", "gini@3")


def judged(seed: int = 0, users: int = USERS, shift: float = 1.0) -> Judged:
    """Labelled pairs and lists of some users."""
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(users), rng.integers(1, 9, users))
    labels = rng.random(len(owners)) < 0.5
    scores = np.round(rng.normal(size=len(owners)) + shift * labels, 1)  # with ties
    lists = np.stack([rng.choice(ITEMS, 4, replace=False, p=_skewed()) for _ in range(users)])
    lists[0, 2:] = -1
    train = Interactions.of(np.array(["u"]), np.array([f"i{n}" for n in range(ITEMS)]), np.array([0]), np.array([0]))
    return Judged(lists=lists, labels=LabelledScores(owners, labels, scores, users), train=train)


def _skewed() -> np.ndarray:
    weights = 1.0 / np.arange(1, ITEMS + 1)
    return weights / weights.sum()


def copied(found: Judged, weights: np.ndarray) -> Judged:
    """A judgement in which each user stands as often as the weights say."""
    rows = np.repeat(np.arange(len(weights)), weights)
    labels = found.labels
    pairs = [np.flatnonzero(labels.owners == row) for row in rows]
    owners = np.repeat(np.arange(len(rows)), [len(each) for each in pairs])
    at = np.concatenate(pairs)
    return replace(
        found, lists=found.lists[rows], labels=LabelledScores(owners, labels.labels[at], labels.scores[at], len(rows))
    )


@pytest.mark.parametrize("name", LABELS + LISTS)
def test_a_weight_of_two_is_a_user_who_is_there_twice(name: str) -> None:
    found, rng = judged(), np.random.default_rng(1)
    weights = np.stack([np.ones(USERS, int), *(rng.integers(0, 3, USERS) for _ in range(5))])
    metric, k = parse(name)
    got = metric.weighed(found, k, weights.astype(float))
    expected = [measure(copied(found, row), [name])[1][name] for row in weights]
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_scikit_learn_weighs_alike() -> None:
    found, weights = judged(), np.random.default_rng(2).integers(0, 4, (3, USERS)).astype(float)
    labels = found.labels
    of_pairs = weights[:, labels.owners]
    auc = [roc_auc_score(labels.labels, labels.scores, sample_weight=row) for row in of_pairs]
    chances = 1 / (1 + np.exp(-labels.scores))
    loss = [sk_log_loss(labels.labels, chances, sample_weight=row) for row in of_pairs]
    np.testing.assert_allclose(parse("auc")[0].weighed(found, 0, weights), auc, rtol=1e-9)
    np.testing.assert_allclose(parse("log-loss")[0].weighed(found, 0, weights), loss, rtol=1e-9)


def test_one_label_alone_has_no_auc() -> None:
    found = judged()
    only = replace(found, labels=replace(found.labels, labels=np.ones(len(found.labels.labels), bool)))
    assert np.isnan(parse("auc")[0].weighed(only, 0, np.ones((2, USERS)))).all()
    assert "auc" not in intervals_together(only, {"auc": float("nan")})


@pytest.mark.parametrize("name", ["log-loss", "fpr", "auc"])
def test_a_draw_without_a_pair_has_no_number_and_leaves_the_interval_as_it_is(name: str) -> None:
    labels = LabelledScores(np.array([1, 1]), np.array([True, False]), np.array([0.5, 1.5]), 2)  # user 0 has none
    found, metric = Judged(labels=labels), parse(name)[0]
    drawn = metric.weighed(found, 0, np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]]))
    number = measure(found, [name])[1][name]
    np.testing.assert_allclose(drawn, [np.nan, number, number], rtol=1e-12)
    assert intervals_together(found, {name: number})[name] == pytest.approx((number, number))


def numbers(found: Judged) -> dict[str, float]:
    return measure(found, [*LABELS, *LISTS])[1]


def test_intervals_hold_the_number_are_the_same_twice_and_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged()
    labelled, listed = replace(found, lists=None), replace(found, labels=None)
    for part, names in ((labelled, LABELS), (listed, LISTS)):
        values = {name: number for name, number in numbers(found).items() if name in names}
        first = intervals_together(part, values)
        assert set(first) == set(names)
        assert all(low < values[name] < high for name, (low, high) in first.items())
        assert intervals_together(part, values, resamples=5000) == first  # never more than 200
        monkeypatch.setattr(together, "CELLS", 100)
        again = intervals_together(part, values)
        assert all(again[name] == pytest.approx(first[name]) for name in first)
        monkeypatch.undo()


def test_about_nineteen_of_twenty_intervals_of_an_auc_hold_the_truth() -> None:
    truth = measure(judged(99, 4000), ["auc"])[1]["auc"]
    inside = []
    for seed in range(60):
        found = replace(judged(seed, 60), lists=None)
        low, high = intervals_together(found, measure(found, ["auc"])[1], seed=seed)["auc"]
        inside.append(low <= truth <= high)
    assert 0.83 <= np.mean(inside) <= 1.0
