from __future__ import annotations

import numpy as np
import pytest

from interlingua.data.interactions import Interactions
from interlingua.errors import ConfigError
from interlingua.training.sample_choice import allocate, answers, buckets, choose, shares_a_word, similar, words_of

TITLES = ["The Matrix (1999)", "Matrix Reloaded", "Heat", "The Heat of Night", "Alien 3", "Alien"]


def events(histories: list[list[int]], items: int = len(TITLES)) -> Interactions:
    users = np.repeat(np.arange(len(histories)), [len(h) for h in histories])
    ids = np.array([str(u) for u in range(len(histories))]), np.array([str(i) for i in range(items)])
    return Interactions.of(*ids, users, np.concatenate(histories).astype(int))


def test_words_are_lower_case_without_numbers_and_filling_words():
    assert words_of("The Matrix (1999): Part II") == {"matrix", "ii"}
    assert words_of("Amélie — 3 of 7") == {"amélie"}


def test_an_answer_without_a_common_word_is_noise():
    train = events([[0, 1, 2, 3], [4, 0, 5], [2]])
    stops = answers(train)
    assert stops.tolist() == [1, 2, 3, 5, 6]
    # Matrix/Matrix yes; Heat/none no; Heat of Night/Heat yes; Matrix/Alien 3 no; Alien/Alien 3 yes
    assert shares_a_word(train, stops, TITLES, 10).tolist() == [True, False, True, False, True]
    assert shares_a_word(train, stops, TITLES, 1).tolist() == [True, False, True, False, False]


def test_likeness_of_vectors_may_decide_instead():
    train = events([[0, 1, 2], [2, 0]], items=3)
    vectors = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 3.0]], np.float32)
    stops = answers(train)
    assert similar(train, stops, vectors, 10, 0.7).tolist() == [True, True, False]
    assert similar(train, stops, vectors, 10, 0.8).tolist() == [False, False, False]
    # a history never reaches into the user before
    assert similar(events([[2], [0, 2]], items=3), np.array([2]), vectors, 10, 0.5).tolist() == [False]


def test_buckets_are_equally_wide_in_the_logarithm():
    assert buckets(np.array([1, 9, 10, 99, 100, 999, 1000]), 3).tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert buckets(np.array([4, 4]), 3).tolist() == [0, 0]
    assert buckets(np.zeros(0, int), 3).tolist() == []


@pytest.mark.parametrize(
    ("sizes", "total", "expected"),
    [
        ([10, 10, 10], 9, [3, 3, 3]),
        ([1, 10, 10], 9, [1, 4, 4]),
        ([0, 2, 100], 50, [0, 2, 48]),
        ([5, 5], 100, [5, 5]),
        ([7, 7], 3, [2, 1]),
        ([1, 1, 1], 2, [1, 1, 0]),
    ],
)
def test_cells_give_evenly_and_small_ones_all_they_have(sizes, total, expected):
    assert allocate(np.array(sizes), total).tolist() == expected


def long_tail() -> Interactions:
    random = np.random.default_rng(0)
    lengths = np.concatenate([np.full(400, 4), np.full(40, 60)])
    chances = 1 / np.arange(1, 201)
    rows = [random.choice(200, n, p=chances / chances.sum()) for n in lengths]
    return events(rows, items=200)


def test_the_draw_is_even_over_buckets_and_repeatable():
    train = long_tail()
    titles = [f"word{i}" for i in range(200)]
    got = choose(train, titles, fraction=0.06, user_buckets=2, item_buckets=3, seed=1)
    assert len(got.stops) == round(0.06 * len(answers(train)))
    assert len(np.unique(got.stops)) == len(got.stops)
    assert set(got.stops) <= set(answers(train))
    per_user = np.bincount(got.user_buckets)
    assert abs(per_user[0] - per_user[1]) <= 2
    everything = choose(train, titles, fraction=1.0)
    skewed = np.bincount(buckets(train.item_counts[train.items[everything.stops]], 3))
    even = np.bincount(got.item_buckets)
    assert even.min() / even.sum() > 2 * skewed.min() / skewed.sum()
    again = choose(train, titles, fraction=0.06, user_buckets=2, item_buckets=3, seed=1)
    other = choose(train, titles, fraction=0.06, user_buckets=2, item_buckets=3, seed=2)
    assert np.array_equal(got.stops, again.stops)
    assert not np.array_equal(got.stops, other.stops)
    assert got.counts["chosen"] == len(got.stops)
    assert sum(got.counts["per user bucket"]) == len(got.stops)
    assert len(everything.stops) == len(answers(train))


def test_the_share_is_of_all_samples_whatever_denoising_drops():
    train = events([[0, 1, 2, 3], [4, 0, 5], [2]])
    got = choose(train, TITLES, fraction=0.4, filter="words")
    assert len(got.stops) == 2
    assert set(got.stops) <= {1, 3, 6}
    assert got.counts["after denoising"] == 3


def test_denoising_that_cannot_be_done_is_explained():
    train = events([[0, 2], [4, 1]])
    with pytest.raises(ConfigError, match="no training sample"):
        choose(train, TITLES, fraction=1.0, filter="words")
    with pytest.raises(ConfigError, match=r"\[text\]"):
        choose(train, TITLES, fraction=1.0, filter="similarity")
