"""Metrics over lists and labels: hand-worked numbers, scikit-learn, RecTools' published examples, plain loops."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from interlingua.contracts.scorer import Scorer
from interlingua.data.interactions import Interactions
from interlingua.data.split import GroundTruth, Split
from interlingua.errors import ConfigError
from interlingua.evaluate.judged import ItemFacts, Judged, LabelledScores
from interlingua.evaluate.metrics.auc import auc
from interlingua.evaluate.metrics.fpr import FPR
from interlingua.evaluate.metrics.gini import gini
from interlingua.evaluate.metrics.log_loss import log_loss
from interlingua.evaluate.metrics.miscalibration import miscalibration
from interlingua.evaluate.metrics.tail import long_tail
from interlingua.evaluate.metrics.uauc import user_auc
from interlingua.evaluate.named import lower_is_better, mean, measure, parse
from interlingua.evaluate.protocol import evaluate


def events(*histories, num_items=5):
    users = np.repeat(np.arange(len(histories)), [len(h) for h in histories])
    ids = np.array([f"u{n}" for n in range(len(histories))]), np.array([f"i{n}" for n in range(num_items)])
    return Interactions.of(*ids, users, np.concatenate([np.asarray(h, int) for h in histories]))


def judged(lists, train, targets=None, **more):
    targets = targets or [[]] * len(lists)
    owners = np.repeat(np.arange(len(lists)), [len(t) for t in targets])
    flat = np.concatenate([np.asarray(t, int) for t in targets])
    truth = GroundTruth(
        np.arange(len(lists)), flat.astype(np.int32), np.searchsorted(owners, np.arange(len(lists) + 1))
    )
    return Judged(lists=np.array(lists), train=train, targets=truth, queries=train.queries(), **more)


def value(found, name):
    per_user, together = measure(found, [name])
    return per_user[name].tolist() if name in per_user else together[name]


TRAIN = events([0, 1], [0], [0, 2], [0, 1])  # item 0: 4 users, 1: 2, 2: 1, 3 and 4: none
LISTS = [[0, 1, 2], [1, 3, -1], [4, 3, 2], [1, -1, -1]]


def test_coverage_and_gini_by_hand():
    assert value(judged(LISTS, TRAIN), "coverage@1") == 3 / 5  # 0, 1, 4
    assert value(judged(LISTS, TRAIN), "coverage@3") == 1.0
    # exposures at 1: [1, 2, 0, 0, 1], sorted 0 0 1 1 2: (-4*0 - 2*0 + 0*1 + 2*1 + 4*2) / (5*4)
    assert value(judged(LISTS, TRAIN), "gini@1") == pytest.approx(10 / 20)
    assert gini(np.full(7, 3)) == 0.0
    assert gini(np.array([0, 0, 0, 9])) == pytest.approx(1 - 1 / 4)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any))
def test_gini_is_half_the_relative_mean_difference(counts):
    x = np.array(counts, float)
    plain = sum(abs(a - b) for a in x for b in x) / (2 * len(x) ** 2 * x.mean())
    assert gini(np.array(counts)) == pytest.approx(plain)


def test_novelty_as_in_rectools_examples():
    """``MeanInvUserFreq`` of RecTools' docstring: three users; item 1 all have, item 2 one, item 3 nobody."""
    train = events([0, 1], [0], [0], num_items=3)
    lists = [[2, -1, -1], [1, 2, -1], [0, 1, -1]]
    assert value(judged(lists, train), "novelty@1") == pytest.approx([1.5849625, 1.5849625, 0.0])
    assert value(judged(lists, train), "novelty@3") == pytest.approx([1.5849625, 1.5849625, 0.79248125])


def test_popularity_and_tail_by_hand():
    assert value(judged(LISTS, TRAIN), "popularity@3") == pytest.approx([7 / 3, 1.0, 1 / 3, 2.0])
    assert long_tail(np.array([4, 2, 1, 0, 0])).tolist() == [False, False, True, True, True]  # 6 of 7 >= 80 %
    assert value(judged(LISTS, TRAIN), "tail@3") == pytest.approx([1 / 3, 1 / 2, 1.0, 0.0])
    assert np.isnan(value(judged([[-1, -1]], TRAIN), "tail@2")[0])


def test_serendipity_by_hand_and_as_in_rectools():
    # places by popularity: 0, 1, 2. A hit at place 1 on item 2: 1 - 3/5
    found = judged([[2, 0, 1], [0, 1, 2]], TRAIN, [[2, 0], [0, 1]])
    assert value(found, "serendipity@1") == pytest.approx([0.4, 0.0])
    assert value(found, "serendipity@3") == pytest.approx([0.4 / 3, 0.0])  # item 0 at place 2 is no surprise
    train = events([0, 1], [0, 1], [0], [], num_items=4)  # RecTools' docstring
    found = judged([[0, 1], [1, 2], [2, -1], [1, 2]], train, [[0, 1], [1, 2], [1], [1]])
    assert value(found, "serendipity@1") == pytest.approx([0.0, 0.25, 0.0, 0.25])
    assert value(found, "serendipity@2") == pytest.approx([0.0, 0.5, 0.0, 0.125])


def category_matrix(*own):
    width = 1 + max(max(each, default=0) for each in own)
    return sp.csr_matrix(np.array([[float(g in each) for g in range(width)] for each in own]))


def test_diversity_by_categories_equals_a_plain_loop():
    own = [{0}, {0, 1}, {2}, set(), {1, 2}]
    lists = [[0, 1, 2], [3, 4, 0], [0, -1, -1], [2, 4, 1]]
    found = value(judged(lists, TRAIN, facts=ItemFacts(category_matrix(*own))), "diversity-categories@3")
    for row, got in zip(lists, found, strict=True):
        pairs = [(own[a], own[b]) for a, b in combinations([i for i in row if i >= 0], 2) if own[a] and own[b]]
        plain = [1 - len(a & b) / len(a | b) for a, b in pairs]
        assert got == pytest.approx(np.mean(plain)) if plain else np.isnan(got)


def test_diversity_by_vectors_equals_scikit_learn():
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    lists = [[0, 1, 2], [3, 4, -1], [0, -1, -1], [2, 4, 1]]
    found = value(judged(lists, TRAIN, facts=ItemFacts(vectors=vectors)), "diversity-vectors@3")
    apart = pairwise.cosine_distances(vectors.astype(np.float64))
    for row, got in zip(lists, found, strict=True):
        plain = [apart[a, b] for a, b in combinations([i for i in row if i >= 0], 2)]
        assert got == pytest.approx(np.mean(plain), abs=1e-6) if plain else np.isnan(got)


def test_miscalibration_by_hand():
    """Steck's movie lover: 70 % romance, 30 % action in the history, only romance in the list."""
    p, q = np.array([[0.7, 0.3]]), np.array([[1.0, 0.0]])
    expected = 0.7 * np.log(0.7 / (0.99 + 0.01 * 0.7)) + 0.3 * np.log(0.3 / (0.01 * 0.3))
    assert miscalibration(p, q) == pytest.approx([expected])
    assert miscalibration(p, p) == pytest.approx([0.0])
    # items 0: romance, 1: action, 2: both; histories [0, 1], [0], [0, 2], [0, 1]
    facts = ItemFacts(category_matrix({0}, {1}, {0, 1}, set(), {0}))
    found = value(judged([[0, 1], [0, 4], [3, -1], [2, -1]], TRAIN, facts=facts), "miscalibration@2")
    assert found[:2] == pytest.approx([0.0, 0.0])
    assert np.isnan(found[2])
    assert found[3] == pytest.approx(0.0)


@st.composite
def pairs(draw):
    size = draw(st.integers(1, 40))
    whole = st.lists(st.integers(0, 4), min_size=size, max_size=size)
    return np.array(draw(whole)), np.array(draw(whole)) > 1, np.array(draw(whole), float) / 2 - 1


@given(pairs())
def test_auc_and_log_loss_equal_scikit_learn_and_uauc_its_mean_over_users(case):
    sklearn = pytest.importorskip("sklearn.metrics")
    owners, labels, scores = case
    found = user_auc(owners, labels, scores, 6)
    for user in range(6):
        own = owners == user
        if len(set(labels[own])) == 2:
            assert found[user] == pytest.approx(sklearn.roc_auc_score(labels[own], scores[own]))
        else:
            assert np.isnan(found[user])
    if len(set(labels)) == 2:
        assert auc(labels, scores) == pytest.approx(sklearn.roc_auc_score(labels, scores))
    else:
        assert np.isnan(auc(labels, scores))
    theirs = sklearn.log_loss(labels, 1 / (1 + np.exp(-scores)), labels=[False, True])
    assert log_loss(labels, scores) == pytest.approx(theirs)


def test_uauc_is_the_plain_mean_over_users_who_have_both():
    scored = LabelledScores(
        np.array([0, 0, 0, 1, 1, 2]), np.array([True, False, False, True, True, False]), np.arange(6.0), 3
    )
    per_user, _ = measure(Judged(labels=scored), ["uauc"])
    assert mean(per_user["uauc"]) == 0.0  # user 0 alone: its liked item has the lowest score


def test_the_false_positive_rate_is_that_of_disliked_pairs_with_a_score_above_zero():
    labels = np.array([True, False, False, True, False, False])
    scored = LabelledScores(np.array([0, 0, 0, 1, 1, 1]), labels, np.array([1.0, 2.0, -1.0, -3.0, 0.0, -0.1]), 2)
    _, found = measure(Judged(labels=scored), ["fpr"])
    assert found["fpr"] == 0.25  # one of four; a score of 0 is a probability of exactly 0.5
    drawn = FPR().weighed(Judged(labels=scored), 0, np.array([[1.0, 1.0], [2.0, 0.0], [1.0, 2.0]]))
    assert drawn == pytest.approx([1 / 4, 2 / 4, 1 / 6])
    liked = LabelledScores(np.array([0]), np.array([True]), np.array([1.0]), 1)
    assert np.isnan(FPR().measure(Judged(labels=liked), 0))


class Table(Scorer):
    """Scores from a table, one row per user."""

    def __init__(self, scores):
        self.scores, self.num_items = np.asarray(scores, np.float32), np.shape(scores)[1]

    def score(self, queries, items=None):
        rows = self.scores[queries.users]
        return rows if items is None else np.take_along_axis(rows, items, axis=1)


def test_lists_are_masked_like_ranks_and_change_no_rank():
    rng = np.random.default_rng(1)
    train = events([0, 1], [2], [3, 4], [5], num_items=8)
    nobody = GroundTruth.of(np.zeros(0, int), np.zeros(0, int))
    split = Split(train, nobody, GroundTruth.of(np.arange(4), np.array([6, 7, 6, 1])), protocol="leave-one-out")
    scorer = Table(rng.normal(size=(4, 8)))
    own = ("recall@5", "ndcg@5")
    plain = evaluate(scorer, split, metrics=own)
    report = evaluate(scorer, split, metrics=(*own, "coverage@2", "popularity@2", "precision@2"))
    assert {name: report.metrics[name] for name in own} == plain.metrics
    shown = set()
    for user in range(4):
        masked = scorer.scores[user].copy()
        masked[train.history(user)] = -np.inf
        shown |= set(np.argsort(-masked)[:2])
    assert report.metrics["coverage@2"] == len(shown) / 8
    assert "coverage@2" not in report.per_user
    assert report.intervals["coverage@2"][0] <= report.metrics["coverage@2"] <= report.intervals["coverage@2"][1]
    assert report.per_user["popularity@2"].shape == (4,)
    assert all("popularity@2" not in each.metrics for each in report.slices.values())  # a list belongs to no slice


def test_names_say_whether_they_have_a_cut_off_and_what_is_better():
    assert parse("auc")[1] == 0
    assert lower_is_better("gini@10")
    assert not lower_is_better("coverage@10")
    for name, words in (("auc@3", "no cut-off"), ("coverage", "coverage@10"), ("covrage@3", "coverage")):
        with pytest.raises(ConfigError, match=words):
            parse(name)


@pytest.mark.parametrize(
    ("metric", "protocol", "words"),
    [
        ("coverage@5", "sampled-5", "judges answers and ranks only"),
        ("auc", "full", "reads labels"),
        ("diversity-categories@5", "full", "columns.categories"),
        ("diversity-vectors@5", "full", r"add a \[text\] section"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_words(metric, protocol, words):
    train = events([0, 1], [2], num_items=5)
    nobody = GroundTruth.of(np.zeros(0, int), np.zeros(0, int))
    split = Split(train, nobody, GroundTruth.of(np.arange(2), np.array([3, 4])), protocol="leave-one-out")
    with pytest.raises(ConfigError, match=words):
        evaluate(Table(np.zeros((2, 5))), split, protocol=protocol, metrics=[metric])
