"""Rows of several answers: each event is an answer once at most, after a history that holds none of them."""

import numpy as np
import pytest

from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD
from interlingua.training.answer_batches import answer_batches
from interlingua.training.batches import Negatives

LENGTHS = (1, 2, 3, 9, 12)


def train():
    """User u has the items u * 12, u * 12 + 1, ... in order."""
    users = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    items = np.concatenate([u * 12 + np.arange(n) for u, n in enumerate(LENGTHS)])
    return Interactions.of(
        np.array([str(u) for u in range(len(LENGTHS))]), np.array([str(i) for i in range(60)]), users, items
    )


def rows(answers, history=4, candidates=7, **options):
    events = train()
    made = answer_batches(
        events, history, 2, np.random.default_rng(1), negatives=Negatives(events), num_candidates=candidates,
        answers=answers, **options,
    )  # fmt: skip
    for batch in made:
        for row in range(len(batch)):
            values = (batch.histories[row], batch.positives[row], batch.negatives[row])
            yield int(batch.users[row]), *(each[each != PAD].tolist() for each in values)


@pytest.mark.parametrize("answers", [2, 3, 5])
def test_with_all_positions_each_event_but_a_users_first_is_an_answer_once(answers):
    expected = [u * 12 + at for u, n in enumerate(LENGTHS) for at in range(1, n)]
    assert sorted(item for _, _, found, _ in rows(answers, all_positions=True) for item in found) == expected


def test_without_it_the_last_events_are_the_answers():
    found = {user: targets for user, _, targets, _ in rows(3)}
    assert found == {1: [13], 2: [25, 26], 3: [42, 43, 44], 4: [57, 58, 59]}


@pytest.mark.parametrize("every", [False, True])
def test_the_history_is_what_came_right_before_the_answers(every):
    for user, history, targets, _ in rows(3, all_positions=every):
        first = targets[0]
        assert targets == list(range(first, first + len(targets)))
        assert history == list(range(max(user * 12, first - 4), first))
        assert history


def test_answers_and_negatives_together_fill_the_list_and_negatives_are_unseen():
    for user, _, targets, negatives in rows(5, all_positions=True):
        assert len(targets) + len(negatives) == 7
        assert all(item // 12 != user or item % 12 >= LENGTHS[user] for item in negatives)


def test_the_same_generator_gives_the_same_rows():
    assert list(rows(3, all_positions=True)) == list(rows(3, all_positions=True))
