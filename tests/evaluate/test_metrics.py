"""Metrics: hand-worked numbers, equality with ranx, and expectations over ties by brute force."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlingua.errors import ConfigError
from interlingua.evaluate.accuracy import Ranks
from interlingua.evaluate.named import compute, parse
from interlingua.retrieval.positions import NEVER

# one user: two targets at ranks 1 and 4; another: one at rank 3; a third: one that is never recommended
ACCURACY = ("recall", "precision", "hit", "mrr", "ndcg", "map")

HAND = Ranks.of([[1, 4], [3], [NEVER]])


def test_hand_worked_values():
    d = 1 / np.log2([2, 3, 4, 5])
    expected = {
        "recall@3": [0.5, 1, 0],
        "recall@4": [1, 1, 0],
        "precision@4": [0.5, 0.25, 0],
        "hit@1": [1, 0, 0],
        "hit@3": [1, 1, 0],
        "mrr@10": [1, 1 / 3, 0],
        "mrr@2": [1, 0, 0],
        "ndcg@3": [d[0] / (d[0] + d[1]), d[2], 0],
        "ndcg@4": [(d[0] + d[3]) / (d[0] + d[1]), d[2], 0],
        "map@4": [(1 + 2 / 4) / 2, 1 / 3, 0],
        "map@3": [0.5, 1 / 3, 0],
    }
    for name, values in compute(HAND, list(expected)).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-12, err_msg=name)


def test_users_without_targets_are_undefined_not_zero():
    ranks = Ranks.of([[], [1], []])
    for name, values in compute(ranks, [f"{m}@5" for m in ACCURACY]).items():
        assert np.isnan(values[[0, 2]]).all(), name
        assert values[1] == (0.2 if name == "precision@5" else 1.0), name


def test_no_users_at_all():
    assert all(len(v) == 0 for v in compute(Ranks.of([]), [f"{m}@5" for m in ACCURACY]).values())


@pytest.mark.parametrize("name", ["ndcg", "ndcg@0", "ndcg@-1", "ndgc@10", "@10", "ndcg@ten"])
def test_unknown_metric_names(name):
    with pytest.raises(ConfigError, match="ndcg"):
        parse(name)


@pytest.mark.parametrize(("rows", "message"), [([[0]], "from 1"), ([[2, 2]], "share a rank")])
def test_impossible_ranks(rows, message):
    with pytest.raises(ConfigError, match=message):
        Ranks.of(rows)


def test_keep_drops_users_without_marked_targets():
    kept, users = HAND.keep(np.array([False, True, True, False]))
    assert users.tolist() == [0, 1]
    assert kept.first.tolist() == [4, 3]
    assert kept.counts.tolist() == [1, 1]


@st.composite
def lists(draw):
    """(catalogue size, per user the ranks of one or more targets)."""
    size = draw(st.integers(1, 40))
    one = st.lists(st.integers(1, size), min_size=1, max_size=size, unique=True)
    return size, draw(st.lists(one, min_size=1, max_size=6))


def plain(row, k, name):
    """The textbook definitions on a list of zeros and ones."""
    top = [rank in row for rank in range(1, k + 1)]
    gains = [rel / np.log2(place + 1) for place, rel in enumerate(top, 1)]
    ideal = sum(1 / np.log2(place + 1) for place in range(1, min(k, len(row)) + 1))
    precisions = [sum(top[:place]) / place for place in range(1, k + 1) if top[place - 1]]
    first = next((1 / place for place, rel in enumerate(top, 1) if rel), 0.0)
    return {
        "recall": sum(top) / len(row), "precision": sum(top) / k, "hit": float(any(top)), "mrr": first,
        "ndcg": sum(gains) / ideal, "map": sum(precisions) / len(row),
    }[name]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(case=lists(), k=st.integers(1, 60))
def test_equal_to_the_textbook(case, k):
    for name in ACCURACY:
        got = compute(Ranks.of(case[1]), [f"{name}@{k}"])[f"{name}@{k}"]
        np.testing.assert_allclose(got, [plain(set(row), k, name) for row in case[1]], atol=1e-12, err_msg=name)


@pytest.mark.slow  # ranx compiles for a minute when it is first used
@settings(max_examples=40, deadline=None)
@given(case=lists(), k=st.integers(1, 60))
def test_equal_to_ranx(case, k):
    ranx = pytest.importorskip("ranx")
    size, rows = case
    names = {
        "recall": "recall",
        "precision": "precision",
        "hit": "hit_rate",
        "mrr": "mrr",
        "ndcg": "ndcg",
        "map": "map",
    }
    qrels = ranx.Qrels({f"u{u:03d}": {f"i{r}": 1 for r in row} for u, row in enumerate(rows)})
    # the item at rank r is called i<r>; ranx sorts by score
    run = ranx.Run({f"u{u:03d}": {f"i{r}": float(size - r + 1) for r in range(1, size + 1)} for u in range(len(rows))})
    theirs = ranx.evaluate(qrels, run, [f"{n}@{k}" for n in names.values()], return_mean=False)
    ours = compute(Ranks.of(rows), [f"{n}@{k}" for n in names])
    for name, other in names.items():
        np.testing.assert_allclose(ours[f"{name}@{k}"], theirs[f"{other}@{k}"], atol=1e-12, err_msg=f"{name}@{k}")


@settings(max_examples=60, deadline=None)
@given(
    before=st.integers(0, 3),
    group=st.integers(1, 5),
    data=st.data(),
    k=st.integers(1, 9),
)
def test_expected_ties_equal_the_mean_over_all_orders(before, group, data, k):
    """One untied target or none in front, then a tie group with some targets, every order of it tried."""
    tied_targets = data.draw(st.integers(1, group))
    front = data.draw(st.lists(st.integers(1, before), max_size=1)) if before else []
    first = np.array([*front, *[before + 1] * tied_targets])
    last = np.array([*front, *[before + group] * tied_targets])
    ours = compute(Ranks(first, last, np.array([0, len(first)])), [f"{m}@{k}" for m in ACCURACY if m != "map"])
    orders = {tuple(sorted(p[:tied_targets])) for p in permutations(range(before + 1, before + group + 1))}
    brute = compute(Ranks.of([[*front, *order] for order in orders]), list(ours))
    for name in ours:
        assert ours[name][0] == pytest.approx(brute[name].mean(), abs=1e-9), name


def test_map_of_tied_lists_is_refused():
    tied = Ranks(np.array([1, 1]), np.array([3, 3]), np.array([0, 2]))
    with pytest.raises(ConfigError, match="ties=row"):
        compute(tied, ["map@3"])
