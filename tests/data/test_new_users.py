"""The splits cold-users and few-shot: people of whom no event is trained on, asked with what they have shown."""

from __future__ import annotations

import numpy as np
import pytest

from interlingua.config import build
from interlingua.data.interactions import Interactions
from interlingua.data.prepare import SplitConfig, load, prepare, save
from interlingua.data.raw import Log
from interlingua.data.sources.planted import generate
from interlingua.data.splitting import SHOWN, TEST, TRAIN, UNUSED, VALID, divide
from interlingua.errors import ConfigError, DataError


def events(counts, num_items=100):
    users = np.repeat(np.arange(len(counts)), counts)
    items = np.concatenate([np.arange(count) + 10 * user for user, count in enumerate(counts)])
    return Interactions.of(np.arange(len(counts)).astype(str), np.arange(num_items).astype(str), users, items)


def divided(data, seed=0, **options):
    return divide(data, None, SplitConfig(**options), "order", seed, Log(quiet=True))


def test_users_with_exactly_three_events_are_shown_with_two_and_not_trained_on():
    parts, split = divided(events([4, 3, 1, 2]), name="cold-users")
    assert parts.tolist() == [TRAIN, TRAIN, TRAIN, VALID, SHOWN, SHOWN, TEST, TRAIN, TRAIN, TRAIN]
    assert split.test.users.tolist() == [1]
    queries = split.queries("test")
    assert queries.users.tolist() == [-1]  # a model does not know them
    assert queries.history(0).tolist() == [10, 11]
    assert split.test.items.tolist() == [12]
    assert split.protocol == "cold-users-3-shown-2"


@pytest.mark.parametrize(("shown", "history"), [(2, [10, 11]), (1, [11]), (0, [])])
def test_fewer_events_are_shown_of_the_same_people(shown, history):
    parts, split = divided(events([4, 3]), name="cold-users", shown=shown)
    queries = split.queries("test")
    assert queries.history(0).tolist() == history
    assert queries.users.tolist() == [-1]
    assert (parts == UNUSED).sum() == 2 - shown
    assert split.test.items.tolist() == [12]


@pytest.mark.parametrize(("count", "history", "target"), [(2, [20], 21), (1, [], 30)])
def test_people_with_two_events_or_one(count, history, target):
    _, split = divided(events([4, 3, 2, 1]), name="cold-users", events=count)
    assert split.queries("test").history(0).tolist() == history
    assert split.queries("test").users.tolist() == [-1]
    assert split.test.items.tolist() == [target]


def test_trained_on_they_are_a_slice_of_known_users():
    parts, split = divided(events([4, 3]), name="cold-users", trained=True)
    assert parts.tolist() == [TRAIN, TRAIN, TRAIN, VALID, TRAIN, TRAIN, TEST]
    assert split.queries("test").users.tolist() == [1]
    assert split.queries("test").history(0).tolist() == [10, 11]
    assert split.protocol.endswith("-trained")


def test_cold_users_are_made_where_there_are_none():
    data = events([8] * 10)
    with pytest.raises(DataError, match="fraction"):
        divided(data, name="cold-users")
    parts, split = divided(data, name="cold-users", fraction=0.3, seed=4)
    assert len(split.test) == 3
    for user in split.test.users:
        own = parts[data.users == user]
        assert own.tolist() == [SHOWN, SHOWN, TEST, *[UNUSED] * 5]  # as they were when they were new
    assert split.protocol == "cold-users-3-shown-2-fraction0.3-seed4"


def test_nobody_left_to_train_on_is_refused():
    with pytest.raises(DataError, match="to train on"):
        divided(events([3, 3, 1]), name="cold-users")


def test_few_shot_trains_on_so_many_users_and_asks_all_others():
    data = events([5] * 9 + [1])
    parts, split = divided(data, name="few-shot", users=4, seed=2)
    training = np.unique(split.train.users)
    assert len(training) == 4
    assert set(split.test.users) == set(range(9)) - set(training)
    assert split.valid.users.tolist() == training.tolist()
    assert parts[data.users == 9].tolist() == [UNUSED]
    queries = split.queries("test")
    assert set(queries.users) == {-1}
    assert queries.history(0).tolist() == data.history(int(split.test.users[0]))[:-1].tolist()


def test_fewer_training_users_are_among_the_more():
    data = events([5] * 40)
    few, more = (set(divided(data, name="few-shot", users=k, seed=5)[1].train.users) for k in (8, 16))
    assert few < more


def test_more_training_users_than_there_are_is_refused():
    with pytest.raises(DataError, match=r"split\.users = 256, and 5 users"):
        divided(events([5] * 5), name="few-shot")


@pytest.mark.parametrize("values", [{"name": "cold-users", "shown": 3}, {"name": "few-shot", "shown": 1}, {"users": 5}])
def test_options_of_another_split_are_refused(values):
    with pytest.raises(ConfigError):
        build(SplitConfig, values, "[data].split")


def test_options_that_are_not_read_are_no_part_of_a_key():
    assert SplitConfig().model_dump() == {"name": "leave-one-out"}
    assert SplitConfig(name="few-shot").model_dump() == {"name": "few-shot", "users": 256}


def test_a_prepared_folder_keeps_what_was_shown(tmp_path):
    world = generate(120, 60, split=SplitConfig(name="cold-users", fraction=0.25, events=3, shown=0))
    again = load(save(world, tmp_path / "cold")).split
    assert again.queries("test").users.tolist() == [-1] * len(world.split.test)
    assert again.queries("test").lengths().tolist() == [0] * len(world.split.test)


def test_ratings_and_times_of_what_was_shown_come_along():
    frame = {"user": [*"aaaabbb"], "item": [*"wxyzxyz"], "rating": [1.0, 2, 3, 4, 5, 3, 1], "time": list(range(7))}
    split = prepare(frame, split="cold-users", quiet=True).split
    queries = split.queries("test")
    assert queries.ratings.tolist() == [5.0, 3.0]
    assert queries.times.tolist() == [4, 5]
