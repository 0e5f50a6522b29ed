"""Written answers: how many name one candidate, and how many of those are right, by all and by the valid ones."""

from __future__ import annotations

import numpy as np
import pytest

from interlingua.contracts.scorer import Scorer
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError
from interlingua.evaluate.judged import Answers
from interlingua.evaluate.protocol import evaluate

NAMES = ("answer-valid", "answer-hit", "answer-hit-valid", "answer-named")
REAL = np.ones((6, 3), bool)
TARGET = np.tile([True, False, False], (6, 1))
SCORES = np.array(
    [
        [1, 0, 0],  # right
        [0, 0, 1],  # wrong
        [0, 0, 0],  # no candidate
        [1, 1, 0],  # the target among two
        [0, 1, 1],  # two others
        [1, 1, 1],  # all: tells nothing
    ],
    np.float32,
)


def test_an_answer_is_what_shares_the_best_score() -> None:
    found = Answers.of(SCORES, REAL, TARGET)
    assert found.named.tolist() == [1, 1, 0, 2, 2, 0]
    assert found.right.tolist() == [True, False, False, True, False, False]
    filled = REAL & (np.arange(3) < 2)  # the last place holds no candidate
    assert Answers.of(SCORES, filled, TARGET).named.tolist() == [1, 0, 0, 0, 1, 0]


class Written(Scorer):
    """Names the target for every fourth user, another candidate for every fourth, and nothing for the others."""

    def __init__(self, targets: np.ndarray, num_items: int) -> None:
        self.targets, self.num_items = targets, num_items

    def score(self, queries, items=None):
        assert items is not None
        scores = np.zeros(items.shape, np.float32)
        for row, user in enumerate(queries.users):
            right = items[row] == self.targets[user]
            if user % 4 == 0:
                scores[row, right] = 1
            elif user % 4 == 1:
                scores[row, np.flatnonzero(~right)[0]] = 1
        return scores


def test_shares_of_users_are_correct_by_all_and_by_valid_answers() -> None:
    split = generate(num_users=80, num_items=60, seed=3, history=10).split
    targets = np.full(split.train.num_users, -1)
    targets[split.test.users] = split.test.items[split.test.offsets[:-1]]
    who = split.test.users
    right, valid = int((who % 4 == 0).sum()), int((who % 4 < 2).sum())
    found = evaluate(Written(targets, split.train.num_items), split, protocol="sampled-20", metrics=NAMES)
    assert found.metrics["answer-valid"] == pytest.approx(valid / len(who))
    assert found.metrics["answer-hit"] == pytest.approx(right / len(who))
    assert found.metrics["answer-named"] == pytest.approx(right / len(who))
    assert found.metrics["answer-hit-valid"] == pytest.approx(right / valid)
    assert any(f"{valid} of {len(who)} users" in each for each in found.warnings)


class Constant(Scorer):
    def __init__(self, num_items: int) -> None:
        self.num_items = num_items

    def score(self, queries, items=None):
        return np.ones((len(queries), self.num_items) if items is None else items.shape, np.float32)


def test_constants_are_no_answer_and_hit_by_chance_only() -> None:
    split = generate(num_users=80, num_items=60, seed=3, history=10).split
    names = ["hit@1", *NAMES]
    found = evaluate(Constant(60), split, protocol="sampled-20+expected", metrics=names)
    assert found.metrics["hit@1"] == pytest.approx(1 / 20)
    assert found.metrics["answer-valid"] == found.metrics["answer-hit"] == found.metrics["answer-named"] == 0
    assert np.isnan(found.metrics["answer-hit-valid"])
    with pytest.raises(ConfigError, match="'answer-hit' reads answers, and the protocol 'full' judges"):
        evaluate(Constant(60), split, protocol="full", metrics=["answer-hit"])
