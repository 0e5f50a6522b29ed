"""What every split promises: a part for each event, a name that says who is asked for what, and nothing of a target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interlingua import registry
from interlingua.data.prepare import load, save
from interlingua.data.prepared import Dataset
from interlingua.data.raw import Log
from interlingua.data.splitting import PARTS, SHOWN, TEST, TRAIN, SplitConfig, divide, protocol_id

OPTIONS = {"cold-users": {"fraction": 0.2}, "few-shot": {"users": 20}}
"""of splits whose usual options ask for more users than a small world has, or for other ones"""
NAMES = registry.names("split")


def options_of(name: str) -> SplitConfig:
    return SplitConfig(name=name, **OPTIONS.get(name, {}))


@pytest.fixture(scope="module")
def given(world: Dataset) -> np.ndarray:
    """(N,) parts for a split that reads them."""
    return world.parts


@pytest.mark.parametrize("name", NAMES)
def test_every_event_has_one_part_and_the_same_options_give_the_same_parts(
    name: str, world: Dataset, given: np.ndarray
) -> None:
    events, options = world.interactions, options_of(name)
    parts, split = divide(events, given, options, "seconds", 3, Log(quiet=True))
    again, _ = divide(events, given, options, "seconds", 3, Log(quiet=True))
    assert parts.shape == (len(events),)
    assert set(np.unique(parts)) <= set(range(len(PARTS)))
    assert {TRAIN, TEST} <= set(np.unique(parts))
    assert np.array_equal(parts, again)
    assert split.protocol == protocol_id(options, 3)
    assert split.protocol.startswith(name)


@pytest.mark.parametrize("name", NAMES)
def test_no_event_is_training_and_target_and_histories_end_before_it(
    name: str, world: Dataset, given: np.ndarray
) -> None:
    events = world.interactions
    parts, split = divide(events, given, options_of(name), "seconds", 3, Log(quiet=True))
    assert len(split.train) == int((parts == TRAIN).sum())
    assert len(split.test.items) == int((parts == TEST).sum())
    queries = split.queries("test")
    assert len(queries) == len(split.test)
    unknown = queries.users < 0
    for row in np.flatnonzero(unknown):
        user = int(split.test.users[row])
        own = (events.users == user) & (parts == SHOWN)
        assert queries.history(row).tolist() == events.items[own].tolist()
        assert not (split.train.users == user).any()
    assert np.array_equal(queries.users[~unknown], split.test.users[~unknown])


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_dataset_is_divided_as_before(name: str, world: Dataset, given: np.ndarray, tmp_path: Path) -> None:
    from dataclasses import replace

    from interlingua.data.prepared import fingerprint

    parts, split = divide(world.interactions, given, options_of(name), "seconds", 3, Log(quiet=True))
    card = world.card | {
        "fingerprint": fingerprint(world.interactions, world.catalogue, parts, split.protocol),
        "split": {
            "protocol": split.protocol, "seed": 3, "valid_in_test_history": split.valid_in_test_history,
            **({} if split.shown is None else {"unseen": True}),
        },
    }  # fmt: skip
    save(replace(world, split=split, parts=parts, card=card), tmp_path / "stored")
    again = load(tmp_path / "stored").split
    for part in ("valid", "test"):
        one, two = split.queries(part), again.queries(part)
        assert np.array_equal(one.users, two.users)
        assert np.array_equal(one.items, two.items)
        assert np.array_equal(one.offsets, two.offsets)
