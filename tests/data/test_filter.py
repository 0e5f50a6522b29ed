from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlingua.data.filter import FilterConfig, duplicate_mask, k_core_mask, keep_mask, one_pass_mask
from interlingua.data.raw import Log


def arrays(pairs):
    return np.array([u for u, _ in pairs], np.int32), np.array([i for _, i in pairs], np.int32)


def test_one_pass_counts_before_filtering_and_may_fall_below_its_thresholds():
    # user 0: items 0, 1; user 1: items 0, 1, 2; item 2 has one event
    users, items = arrays([(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)])
    mask = one_pass_mask(users, items, 3, 2)
    assert mask.tolist() == [False, False, True, True, False]  # item 0 is left with one event although min_item is 2


def test_k_core_iterates_until_nothing_changes():
    # dropping item 2 leaves user 1 with one event, which then goes too
    users, items = arrays([(0, 0), (0, 1), (2, 0), (2, 1), (1, 0), (1, 2)])
    mask, rounds = k_core_mask(users, items, 2, 2)
    assert mask.tolist() == [True, True, True, True, False, False]
    assert rounds == 2


def test_k_core_can_leave_nothing():
    mask, _ = k_core_mask(*arrays([(0, 0), (1, 1)]), 2, 2)
    assert not mask.any()


def slow_k_core(pairs, min_user, min_item):
    kept = list(range(len(pairs)))
    while True:
        inner = [
            e
            for e in kept
            if sum(pairs[o][0] == pairs[e][0] for o in kept) >= min_user
            and sum(pairs[o][1] == pairs[e][1] for o in kept) >= min_item
        ]
        if inner == kept:
            return kept
        kept = inner


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=25),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_k_core_equals_a_plain_loop(pairs, min_user, min_item):
    mask, _ = k_core_mask(*arrays(pairs), min_user, min_item)
    assert np.flatnonzero(mask).tolist() == slow_k_core(pairs, min_user, min_item)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=20))
def test_duplicates_keep_the_first_or_last_of_each_pair(pairs):
    users, items = arrays(pairs)
    for which, seen_from in (("first", range(len(pairs))), ("last", range(len(pairs) - 1, -1, -1))):
        seen, expected = set(), []
        for event in seen_from:
            if pairs[event] not in seen:
                seen.add(pairs[event])
                expected.append(event)
        assert np.flatnonzero(duplicate_mask(users, items, which)).tolist() == sorted(expected)
    assert duplicate_mask(users, items, "keep").all()


def test_rating_threshold_comes_before_the_counts_and_missing_ratings_are_counted():
    users, items = arrays([(0, 0), (0, 1), (1, 0), (1, 1)])
    ratings = np.array([5, 2, 4, np.nan], np.float32)
    log = Log(quiet=True)
    mask = keep_mask(users, items, ratings, FilterConfig(min_rating=3, min_item=2), log)
    assert mask.tolist() == [True, False, True, False]
    assert [(s["rows_in"], s["rows_out"]) for s in log.steps] == [(4, 2), (2, 2)]
    assert log.decisions[0]["count"] == 1
    assert "without a rating" in log.decisions[0]["what"]


def test_min_rating_without_ratings_warns_and_keeps_everything():
    log = Log(quiet=True)
    mask = keep_mask(*arrays([(0, 0)]), None, FilterConfig(min_rating=3), log)
    assert mask.all()
    assert "no effect" in log.warnings[0]


def test_every_step_is_shown(capsys):
    keep_mask(*arrays([(0, 0), (0, 0), (1, 1)]), None, FilterConfig(min_user=1, min_item=1), Log())
    shown = capsys.readouterr().err
    assert "repeated (user, item) pairs" in shown
    assert 'filter.duplicates = "keep"' in shown
    assert "3 -> 2 rows" in shown


@pytest.mark.parametrize("kind", ["k-core", "one-pass"])
def test_log_names_rows_users_and_items(kind):
    log = Log(quiet=True)
    keep_mask(*arrays([(0, 0), (0, 1), (1, 0)]), None, FilterConfig(min_user=2, kind=kind), log)
    assert log.steps[0] | {"rounds": 1} == {
        "step": f"{kind} min_user 2, min_item 0",
        "rows_in": 3,
        "rows_out": 2,
        "users": 1,
        "items": 2,
        "rounds": 1,
    }
