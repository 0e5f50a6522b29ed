from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlingua.config import build
from interlingua.data.interactions import Interactions
from interlingua.data.raw import Log
from interlingua.data.splits.global_time import global_time
from interlingua.data.splits.leave_one_out import leave_one_out
from interlingua.data.splits.ratio import ratio
from interlingua.data.splitting import (
    TEST,
    TRAIN,
    UNUSED,
    VALID,
    SplitConfig,
    divide,
    of_parts,
    protocol_id,
)
from interlingua.errors import ConfigError, DataError


def events(counts, times=None, num_items=1000):
    users = np.repeat(np.arange(len(counts)), counts)
    items = np.arange(len(users)) % num_items
    return Interactions.of(np.arange(len(counts)).astype(str), np.arange(num_items).astype(str), users, items, times)


def test_leave_one_out_takes_the_last_two_events_and_leaves_short_histories_alone():
    data = events([4, 2, 1, 3])
    assert leave_one_out(data).tolist() == [0, 0, VALID, TEST, 0, 0, 0, 0, VALID, TEST]


def test_leave_one_out_goes_by_time_not_by_row():
    data = Interactions.of(
        np.array(["u"]), np.array(list("abc")), np.zeros(3, int), np.array([0, 1, 2]), np.array([30, 10, 20])
    )
    parts, split = divide(data, None, SplitConfig(), "seconds", 0, Log(quiet=True))
    assert split.train.items.tolist() == [1]
    assert split.valid.items.tolist() == [2]
    assert split.test.items.tolist() == [0]
    assert split.horizon == 10
    assert split.queries("test").history(0).tolist() == [1, 2]  # the validation item is known at test time
    assert split.queries("valid").history(0).tolist() == [1]
    assert parts.tolist() == [TRAIN, VALID, TEST]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(0, 3))
def test_ratio_shares_hold_per_user_and_train_is_never_empty(counts, seed):
    data = events(counts)
    parts = ratio(data, 0.2, 0.2, "random", seed)
    for user, count in enumerate(counts):
        own = parts[data.offsets[user] : data.offsets[user + 1]]
        expected = min(int(count * 0.2 + 0.5), count - 1)
        assert (own == TEST).sum() == expected
        assert (own == VALID).sum() == min(int(count * 0.2 + 0.5), count - 1 - expected)
        assert (own == TRAIN).sum() >= 1


def test_ratio_by_time_holds_out_the_last_events():
    assert ratio(events([10]), 0.2, 0.1, "time", 0).tolist() == [0] * 7 + [VALID, VALID, TEST]


def test_ratio_random_depends_on_the_seed_only():
    data = events([10] * 50)
    assert (ratio(data, 0.1, 0.1, "random", 1) == ratio(data, 0.1, 0.1, "random", 1)).all()
    assert (ratio(data, 0.1, 0.1, "random", 1) != ratio(data, 0.1, 0.1, "random", 2)).any()


def test_ratio_random_is_uniform_over_positions():
    data = events([10] * 3000)
    place = np.flatnonzero(ratio(data, 0.0, 0.1, "random", 3) == TEST) % 10
    counts = np.bincount(place, minlength=10)
    assert counts.sum() == 3000
    assert ((counts - 300) ** 2 / 300).sum() < 27.9  # chi-square, 9 degrees of freedom, p = .001


def test_global_time_cuts_all_users_alike_and_never_within_a_second():
    times = np.array([1, 2, 3, 4, 5, 5, 6, 7, 8, 9])
    data = events([5, 5], times)
    parts, valid_from, test_from = global_time(data, SplitConfig(name="global-time", valid=0.2, test=0.2))
    assert (valid_from, test_from) == (6, 8)
    assert parts.tolist() == [0, 0, 0, 0, 0, 0, VALID, VALID, TEST, TEST]


@given(st.lists(st.integers(0, 20), min_size=3, max_size=60), st.floats(0.05, 0.4), st.floats(0.05, 0.4))
def test_global_time_shares_are_upper_bounds_and_parts_are_ordered(times, valid, test):
    data = events([len(times)], np.sort(np.array(times)))
    parts, _, _ = global_time(data, SplitConfig(name="global-time", valid=valid, test=test))
    assert (parts == TEST).mean() <= test + 1e-9
    assert (np.diff(parts[np.argsort(data.times, kind="stable")]) >= 0).all()
    for second in set(times):
        assert len(set(parts[data.times == second])) == 1


def test_global_time_at_given_moments_and_next_targets():
    data = events([6], np.arange(6))
    config = SplitConfig(name="global-time", valid_from=2, test_from=4, targets="next")
    log = Log(quiet=True)
    parts, split = divide(data, None, config, "seconds", 0, log)
    assert parts.tolist() == [0, 0, VALID, UNUSED, TEST, UNUSED]
    assert len(split.train) == 2
    assert split.protocol == "global-time-from2-from4-next"
    assert any(d["count"] == 2 and "targets" in d["undo"] for d in log.decisions)


def test_global_time_lets_users_without_train_events_be_tested():
    data = events([3, 2], np.array([1, 2, 9, 8, 9]))
    parts, split = divide(
        data, None, SplitConfig(name="global-time", valid_from=3, test_from=8), "seconds", 0, Log(True)
    )
    assert parts.tolist() == [0, 0, TEST, TEST, TEST]
    assert split.test.users.tolist() == [0, 1]
    assert len(split.queries("test").history(1)) == 0


@given(st.lists(st.lists(st.sampled_from([TRAIN, VALID, TEST]), max_size=6), min_size=1, max_size=6))
def test_test_histories_are_train_then_validation_items(codes):
    data = events([len(c) for c in codes])
    flat = np.array([c for own in codes for c in own], np.int8)
    split = of_parts(data, flat, protocol="x", valid_known=True, kind="order")
    queries = split.queries("test")
    for row, user in enumerate(split.test.users):
        own, code = data.history(int(user)), np.array(codes[int(user)])
        assert queries.history(row).tolist() == [*own[code == TRAIN], *own[code == VALID]]
    assert len(queries) == sum(TEST in own for own in codes)


def test_global_time_needs_real_times():
    with pytest.raises(DataError, match="only an order"):
        divide(events([3]), None, SplitConfig(name="global-time"), "order", 0, Log(quiet=True))


def test_given_uses_the_column_and_keeps_validation_out_of_the_test_history():
    given_parts = np.array([0, 1, 2, 0], np.int8)
    _, split = divide(events([3, 1]), given_parts, SplitConfig(name="given"), "order", 0, Log(quiet=True))
    assert split.train.items.tolist() == [0, 3]
    assert split.queries("test").history(0).tolist() == [0]
    assert split.horizon is None


def test_given_without_a_column_says_what_to_do():
    with pytest.raises(DataError, match=r"columns\.part"):
        divide(events([3]), None, SplitConfig(name="given"), "order", 0, Log(quiet=True))


def test_parts_cover_all_events_once():
    data = events([5, 3, 2, 1])
    for name in ("leave-one-out", "ratio", "global-time"):
        parts, split = divide(data, None, SplitConfig(name=name), "seconds", 0, Log(quiet=True))
        assert len(split.train) + len(split.valid.items) + len(split.test.items) == len(parts) == 11


def test_protocol_names_say_what_makes_results_comparable():
    assert protocol_id(SplitConfig(), 3) == "leave-one-out"
    assert protocol_id(SplitConfig(name="ratio", valid=0.2, test=0.2), 3) == "ratio-0.6-0.2-0.2-random-seed3"
    assert protocol_id(SplitConfig(name="ratio", by="time"), 3) == "ratio-0.8-0.1-0.1-time"


@pytest.mark.parametrize(
    "values",
    [{"valid": 0.6, "test": 0.5}, {"valid_from": 5, "test_from": 3}, {"name": "leave-two-out"}, {"vaild": 0.1}],
)
def test_impossible_splits_are_refused(values):
    with pytest.raises(ConfigError):
        build(SplitConfig, values, "[data].split")
