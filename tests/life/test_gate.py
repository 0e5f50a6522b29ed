"""Which held-out events two versions may be compared on."""

from __future__ import annotations

import numpy as np
import pytest

from interlingua.data.interactions import Interactions
from interlingua.data.split import GroundTruth
from interlingua.errors import DataError
from interlingua.life.gate import comparable

USERS = 40
IDS = np.array(["milk", "bread"])


def events(item: int, time: int) -> Interactions:
    """Everybody had one item at one time."""
    names = np.array([f"u{number}" for number in range(USERS)])
    return Interactions.of(names, IDS, np.arange(USERS), np.full(USERS, item), np.full(USERS, time))


def test_an_item_that_is_bought_again_is_a_new_target_where_repeats_are_kept() -> None:
    known = events(0, 100)
    again = GroundTruth.of(np.arange(USERS), np.zeros(USERS, np.int64), np.full(USERS, 200))
    with pytest.raises(DataError, match="nothing to compare"):
        comparable(again, known, known, known)
    targets, words = comparable(again, known, known, known, repeats=True)
    assert len(targets.items) == USERS
    assert words == "events since the served version"
    same = GroundTruth.of(np.arange(USERS), np.zeros(USERS, np.int64), np.full(USERS, 100))
    with pytest.raises(DataError, match="nothing to compare"):
        comparable(same, known, known, known, repeats=True)
