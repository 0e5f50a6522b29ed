"""Tests over users and training seeds: their level, what a lucky seed is worth, and one seed."""

from __future__ import annotations

import numpy as np
import pytest

from interlingua.evaluate.compare import bootstrap_p, compare
from interlingua.evaluate.intervals import intervals, seed_deviations
from interlingua.evaluate.result import Report


def report(values):
    return Report("full", "test", "p", {"hit@1": float(values.mean())}, {}, len(values), len(values), 0.0,
                  per_user={"hit@1": values})  # fmt: skip


def runs(rng, seeds, mean=0.3, spread=0.02, users=400):
    """One method's reports: every seed has a level of its own, every user one that all methods share."""
    levels = np.random.default_rng(1).normal(0, 0.1, users)
    return [report(mean + rng.normal(0, spread) + levels + rng.normal(0, 0.05, users)) for _ in range(seeds)]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_methods_that_differ_in_their_seeds_alone_are_told_apart_once_in_twenty(seeds):
    """400 null comparisons in which luck is all there is: users alone would find a difference in most of them."""
    rng = np.random.default_rng(seeds)
    alarms = 0
    for repeat in range(400):
        first, second = rng.normal(size=(2, seeds))
        observed = float(first.mean() - second.mean())
        means = observed + seed_deviations([first, -second], resamples=400, seed=repeat)
        alarms += bootstrap_p(means, observed) < 0.05
    assert 0.02 < alarms / 400 < 0.085


def test_a_difference_within_the_spread_of_seeds_is_none_though_users_agree_on_it():
    rng = np.random.default_rng(5)
    one, other = runs(rng, 3, spread=0.03), runs(rng, 3, spread=0.03)
    means = [float(np.mean([r.metrics["hit@1"] for r in each])) for each in (one, other)]
    alone = compare({"a": one[:1], "b": other[:1]}, resamples=2000).tests[0]
    assert alone.p < 0.01  # the users of one pair of runs, all moved alike
    found = compare({"a": one, "b": other}, resamples=2000)
    assert found.tests[0].difference == pytest.approx(means[0] - means[1])
    assert found.tests[0].p > 0.05
    low, high = found.tests[0].interval
    assert low < 0 < high


def test_a_difference_beyond_the_seeds_is_found():
    rng = np.random.default_rng(6)
    found = compare({"a": runs(rng, 5, 0.32, 0.003), "b": runs(rng, 5, 0.30, 0.003)}, resamples=2000)
    assert found.tests[0].p < 0.01
    assert not found.warnings


def test_intervals_of_a_row_hold_its_seeds():
    rng = np.random.default_rng(7)
    wide, narrow = runs(rng, 3, spread=0.05), runs(rng, 3, spread=0.0)
    rows = compare({"wide": wide, "narrow": narrow}, resamples=100).rows
    widths = [high - low for low, high in (row.intervals["hit@1"] for row in rows)]
    assert widths[0] > 3 * widths[1]
    values = np.stack([r.per_user["hit@1"] for r in narrow])
    users = intervals({"hit@1": values.mean(0)})["hit@1"]
    assert widths[1] >= users[1] - users[0]


def test_what_p_values_do_not_know_is_said():
    rng = np.random.default_rng(8)
    one, two = runs(rng, 1), runs(rng, 2)
    assert "one training seed each" in compare({"a": one, "b": one}, resamples=50).warnings[0]
    assert "one training seed of a:" in compare({"a": one, "b": two}, resamples=50).warnings[0]
    assert "averages training seeds" in compare({"a": two, "b": two}, test="t", resamples=50).warnings[0]


def test_one_seed_has_no_deviation():
    assert not seed_deviations([np.ones(1), np.zeros(1)], resamples=20).any()
    assert (seed_deviations([np.arange(3.0)], seed=3) == seed_deviations([np.arange(3.0)], seed=3)).all()
