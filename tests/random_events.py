"""A few events drawn at random, for tests that need any small graph."""

from __future__ import annotations

import numpy as np

from interlingua.data.interactions import Interactions


def random_events(users: int, items: int, draws: int) -> Interactions:
    """At most ``draws`` different pairs, always the same; ids are ``"0"``, ``"1"`` ..."""
    pairs = np.unique(np.random.default_rng(2).integers(0, [users, items], (draws, 2)), axis=0)
    user_ids, item_ids = (np.array([str(i) for i in range(n)]) for n in (users, items))
    return Interactions.of(user_ids, item_ids, pairs[:, 0], pairs[:, 1])
