"""A block world small enough for every test: users and items fall into groups, users only ever choose inside theirs."""

from __future__ import annotations

import numpy as np
import pytest

from interlingua.data.interactions import Interactions


def block_world(users: int = 60, items: int = 24, groups: int = 3, events: int = 7, seed: int = 0) -> Interactions:
    """User u and item i are in groups u % groups and i % groups; a user has ``events`` distinct items of its group."""
    rng = np.random.default_rng(seed)
    who, what = [], []
    for user in range(users):
        own = np.arange(user % groups, items, groups)
        chosen = rng.permutation(own)[:events]
        who += [user] * len(chosen)
        what += chosen.tolist()
    return Interactions.of(
        np.array([f"u{n}" for n in range(users)]),
        np.array([f"i{n}" for n in range(items)]),
        np.array(who),
        np.array(what),
    )


def random_world(users: int = 40, items: int = 30, events: int = 300, seed: int = 0) -> Interactions:
    """Uniform random events with repeats; some users and items may have none."""
    rng = np.random.default_rng(seed)
    return Interactions.of(
        np.array([f"u{n}" for n in range(users)]),
        np.array([f"i{n}" for n in range(items)]),
        rng.integers(0, users, events),
        rng.integers(0, items, events),
        np.arange(events),
    )


@pytest.fixture(name="block_world")
def _block_world():
    return block_world


@pytest.fixture(name="random_world")
def _random_world():
    return random_world
