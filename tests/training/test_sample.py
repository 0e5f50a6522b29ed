"""Negatives are uniform over what a user lacks; batches hold every target once, aligned with the events before it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlingua.config import FitConfig
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD
from interlingua.errors import DataError
from interlingua.training.batches import Negatives, last_position_batches, pair_batches, sequence_batches, tiled_windows
from interlingua.training.prefixes import spread
from interlingua.training.target_windows import target_batches


def world(users: int = 12, items: int = 9, events: int = 60, seed: int = 0) -> Interactions:
    rng = np.random.default_rng(seed)
    names = (np.array([f"u{n}" for n in range(users)]), np.array([f"i{n}" for n in range(items)]))
    return Interactions.of(*names, rng.integers(0, users, events), rng.integers(0, items, events), np.arange(events))


def long_world(lengths: list[int]) -> Interactions:
    """Every event is another item, so a row number tells which event it is."""
    total = sum(lengths)
    users = np.repeat(np.arange(len(lengths)), lengths)
    ids = np.array([f"i{n}" for n in range(total + 3)])
    return Interactions.of(np.array([f"u{n}" for n in range(len(lengths))]), ids, users, np.arange(total))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 15), st.integers(2, 20), st.integers(0, 80))
def test_negatives_are_never_in_the_users_training_events(seed, users, items, events):
    train = world(users, items, events, seed)
    owned = [set(train.history(u).tolist()) for u in range(users)]
    able = np.array([u for u in range(users) if len(owned[u]) < items], np.int64)
    if len(train) and all(len(owned[u]) == items for u in range(users) if owned[u]):
        with pytest.raises(DataError, match="every user has all"):
            Negatives(train)
        return
    drawn = Negatives(train).draw(np.repeat(able, 20), np.random.default_rng(seed), 3)
    assert drawn.shape == (len(able) * 20, 3)
    assert drawn.min() >= 0
    assert drawn.max() < items
    for user, row in zip(np.repeat(able, 20), drawn, strict=True):
        assert not owned[user] & set(row.tolist())


def test_negatives_are_uniform_over_the_absent_items():
    train = world(users=3, items=9, events=9)
    user = 1
    absent = sorted(set(range(9)) - set(train.history(user).tolist()))
    drawn = Negatives(train).draw(np.full(40_000, user), np.random.default_rng(0))
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == absent
    assert np.abs(counts / 40_000 - 1 / len(absent)).max() < 0.01


def test_a_user_with_every_item_is_named():
    train = Interactions.of(np.array(["a", "b"]), np.array(["x", "y"]), np.array([0, 1, 1]), np.array([0, 0, 1]))
    with pytest.raises(DataError, match="the user b has all 2 items"):
        Negatives(train).draw(np.array([0, 1]), np.random.default_rng(0))


def test_pair_batches_hold_every_event_once():
    train = world()
    batches = list(pair_batches(train, FitConfig(batch_size=7), np.random.default_rng(3), num_negatives=2))
    users = np.concatenate([b.users.numpy() for b in batches])
    items = np.concatenate([b.positives.numpy() for b in batches])
    assert sorted(zip(users, items, strict=True)) == sorted(zip(train.users, train.items, strict=True))
    assert {len(b) for b in batches[:-1]} == {7}
    assert all(b.negatives.shape == (len(b), 2) for b in batches)


@pytest.mark.parametrize("num", [0, 1, 4])
@pytest.mark.parametrize("long_histories", ["last", "windows"])
def test_sequence_batches_align_targets_with_the_events_before_them(num, long_histories):
    train = long_world([1, 2, 5, 9, 3, 0, 14])
    targets = []
    for batch in sequence_batches(train, 4, 3, np.random.default_rng(1), num, long_histories=long_histories):
        histories, positives = batch.histories.numpy(), batch.positives.numpy()
        assert histories.shape == positives.shape
        assert histories.shape[1] <= 4
        real = positives != PAD
        assert (real == (histories != PAD)).all()
        assert (np.diff(real.astype(int), axis=1) >= 0).all()  # padding only on the left
        assert real[:, -1].all()
        assert real.any(axis=0).all()  # no column is padding alone
        assert (positives[real] == histories[real] + 1).all()  # items are numbered by event: the target is the next one
        assert (train.users[positives[real]] == np.broadcast_to(batch.users.numpy()[:, None], real.shape)[real]).all()
        targets += positives[real].tolist()
        if num == 0:
            assert batch.negatives is None
        else:
            negatives = batch.negatives.numpy().reshape(*real.shape, num)
            assert (negatives[~real] == PAD).all()
            owner = np.where(negatives[real] < len(train), train.users[np.minimum(negatives[real], len(train) - 1)], -9)
            assert (owner != np.broadcast_to(batch.users.numpy()[:, None], real.shape)[real][:, None]).all()
    first = train.offsets[:-1]
    every = set(range(len(train))) - set(first.tolist())
    last_four = {e for e in every if e >= train.offsets[train.users[e] + 1] - 4}
    assert sorted(targets) == sorted(every if long_histories == "windows" else last_four)


@pytest.mark.parametrize("long_histories", ["last", "windows"])
def test_batches_of_equal_targets_hold_every_target_once_and_about_as_many_each(long_histories):
    train = long_world([2] * 60 + [30] * 20 + [7] * 40)
    found = {}
    for batch_by in ("sequences", "events"):
        batches = list(
            sequence_batches(
                train, 20, 8, np.random.default_rng(1), 0, long_histories=long_histories, batch_by=batch_by
            )
        )
        targets = [batch.positives[batch.positives != PAD].numpy() for batch in batches]
        found[batch_by] = np.sort(np.concatenate(targets))
        counts = np.array([len(each) for each in targets])
        share = 8 * counts.sum() / sum(len(batch) for batch in batches)
        if batch_by == "events":
            assert counts.max() < share + 20  # a row more than its share at most
            assert len(batches) <= 1.3 * counts.sum() / share
        else:
            assert counts.max() > 2 * share
    np.testing.assert_array_equal(found["sequences"], found["events"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(1, 12), st.integers(0, 99))
def test_windows_cover_each_target_once_wherever_they_are_cut(lengths, max_history, seed):
    train = long_world(lengths)
    rows = tiled_windows(train, max_history, np.random.default_rng(seed))
    got = [s + k for s, n in zip(rows.starts, rows.lengths, strict=True) for k in range(1, n)]
    wanted = [e for u in range(len(lengths)) for e in range(train.offsets[u] + 1, train.offsets[u + 1])]
    assert sorted(got) == wanted
    if len(rows):
        assert rows.lengths.max() <= max_history + 1
        assert rows.lengths.min() >= 2


def test_last_position_batches_hold_the_last_event_of_each_user():
    train = long_world([1, 2, 5, 9, 0, 14])
    seen = {}
    for batch in last_position_batches(train, 4, 2, np.random.default_rng(0)):
        assert batch.positives.shape == batch.negatives.shape == (len(batch),)
        for user, positive, history in zip(batch.users, batch.positives, batch.histories, strict=True):
            seen[int(user)] = (int(positive), [int(h) for h in history if h != PAD])
    ends = train.offsets[1:]
    assert seen == {
        u: (ends[u] - 1, list(range(max(ends[u] - 5, train.offsets[u]), ends[u] - 1))) for u in (1, 2, 3, 5)
    }


def test_all_positions_makes_every_prefix_a_row():
    train = long_world([1, 2, 5, 9])
    batches = list(last_position_batches(train, 3, 4, np.random.default_rng(0), all_positions=True, num_negatives=2))
    got = sorted(int(p) for b in batches for p in b.positives)
    assert got == sorted(set(range(len(train))) - set(train.offsets[:-1].tolist()))
    for batch in batches:
        assert (batch.histories[:, -1] + 1 == batch.positives).all()
        assert batch.histories.shape[1] <= 3
        assert batch.negatives.shape == (len(batch), 2)


def test_batches_follow_from_the_generator_alone():
    train = world(users=30, events=200)
    for make in (
        lambda g: pair_batches(train, FitConfig(batch_size=16), g),
        lambda g: sequence_batches(train, 5, 4, g, 1, long_histories="windows"),
        lambda g: last_position_batches(train, 5, 4, g),
    ):
        one, two, other = (list(make(np.random.default_rng(s))) for s in (5, 5, 6))
        assert all(
            (a.positives.equal(b.positives) and a.negatives.equal(b.negatives)) for a, b in zip(one, two, strict=True)
        )
        assert any(
            a.positives.shape != b.positives.shape or not a.positives.equal(b.positives)
            for a, b in zip(one, other, strict=True)
        )


def test_a_training_part_without_a_second_event_is_refused_in_the_same_words_by_all_batches():
    train, rng = long_world([1, 1, 1]), np.random.default_rng(0)
    said = set()
    for make in (
        lambda: next(sequence_batches(train, 3, 4, rng, 0)),
        lambda: next(last_position_batches(train, 3, 4, rng)),
        lambda: next(target_batches(train, 3, 2, 4, rng)),
        lambda: spread(train, 2),
    ):
        with pytest.raises(DataError, match=r"no history of two events is left.*filter\.min_user") as error:
            make()
        said.add(str(error.value))
    assert len(said) == 1
