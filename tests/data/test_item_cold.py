"""The split item-cold: no event of a held-out item is read before the test part is opened."""

from __future__ import annotations

import numpy as np
import pytest

from interlingua.data.interactions import Interactions
from interlingua.data.item_cold import divided, first_seen_from, fold_of_items
from interlingua.data.prepare import SplitConfig, load, prepare, save
from interlingua.data.sources.planted import generate
from interlingua.errors import DataError


def world(**options):
    return generate(120, 80, split=SplitConfig(name="item-cold", **options))


@pytest.mark.parametrize("fold", [0, 2, 4])
def test_no_event_of_a_cold_item_is_in_training_or_validation(fold):
    prepared = world(fold=fold)
    split, events = prepared.split, prepared.interactions
    cold = np.unique(split.test.items)
    assert not np.isin(split.train.items, cold).any()
    assert not np.isin(split.valid.items, cold).any()
    assert np.isin(events.items, cold).sum() == len(split.test.items) + (prepared.parts == 3).sum()
    assert np.array_equal(np.flatnonzero((split.train.item_counts == 0) & (events.item_counts > 0)), cold)
    queries = split.queries("test")
    assert not np.isin(queries.items, cold).any()
    assert queries.lengths().min() > 0  # a user without any other event is not asked


def test_the_folds_are_every_item_once():
    held = [np.unique(world(fold=fold).split.test.items) for fold in range(5)]
    everything = np.concatenate(held)
    assert len(everything) == len(np.unique(everything))
    sizes = [len(each) for each in held]
    assert max(sizes) - min(sizes) <= 3  # of a fold: items whose only users have nothing else


def test_validation_is_each_users_last_other_event_and_makes_no_item_cold():
    prepared = world()
    split, events = prepared.split, prepared.interactions
    warm = ~np.isin(events.items, np.unique(split.test.items))
    for row, user in enumerate(split.valid.users[:40]):
        mine = events.items[warm & (events.users == user)]
        assert split.valid.of_row(row).tolist() == [mine[-1]]
        assert split.train.history(user).tolist() == mine[:-1].tolist()
    assert split.train.item_counts[split.valid.items].min() > 0
    assert split.valid_in_test_history


def test_items_first_seen_after_a_moment_and_nothing_later_is_training():
    prepared = world(by="time", test=0.3)
    split, events = prepared.split, prepared.interactions
    cold = np.unique(split.test.items)
    first = {item: events.times[events.items == item].min() for item in np.unique(events.items)}
    moment = min(first[item] for item in cold)
    assert split.train.times.max() < moment
    assert all((first[item] >= moment) == (item in cold) or item not in split.train.items for item in first)
    assert split.protocol == "item-cold-time-0.3"


def test_hand_worked():
    events = Interactions.of(
        np.array(list("abc")), np.array(list("uvwxy")), np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 4, 1, 0, 4])
    )
    cold = np.array([False, False, False, False, True])
    test, valid, unused = divided(events, cold)
    assert test.tolist() == [False, False, True, False, False, False]
    assert unused.tolist() == [False, False, False, False, False, True]  # user c has nothing else
    assert valid.tolist() == [False, True, False, False, True, False]
    assert first_seen_from(events, 2).tolist() == [False, False, False, False, True]
    with pytest.raises(DataError, match="no event to train on"):
        divided(events, np.ones(5, bool))
    with pytest.raises(DataError, match="only 3 items have events"):
        fold_of_items(events, 4, 0, 0)


def test_the_folder_says_the_same(tmp_path):
    prepared = world(fold=1)
    save(prepared, tmp_path / "d")
    again = load(tmp_path / "d")
    assert again.split.protocol == prepared.split.protocol == "item-cold-1-of-5-seed0"
    assert np.array_equal(again.split.test.items, prepared.split.test.items)


def test_options_that_cannot_work_are_explained():
    with pytest.raises(ValueError, match="fold is one of 0 to 4"):
        SplitConfig(name="item-cold", fold=5)
    frame = {"user_id": ["a", "a", "b"], "item_id": ["x", "y", "x"]}
    with pytest.raises(DataError, match="only an order"):
        prepare(frame, split=SplitConfig(name="item-cold", by="time"), quiet=True)
