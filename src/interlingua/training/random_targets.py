"""Random positions of histories as training targets."""

from __future__ import annotations

import numpy as np

from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray


def drawn_targets(train: Interactions, generator: np.random.Generator, count: int, *, later_half: bool) -> IntArray:
    """(n,) event numbers: ``count`` random ones of every user with events.

    ``later_half``: of users with two events or more, from position ``(length - 1) // 2`` on.
    """
    users = np.flatnonzero(train.user_counts >= (2 if later_half else 1)).repeat(count)
    lengths = train.user_counts[users]
    first = (lengths - 1) // 2 if later_half else np.zeros_like(lengths)
    drawn: IntArray = train.offsets[users] + generator.integers(first, lengths)
    return drawn
