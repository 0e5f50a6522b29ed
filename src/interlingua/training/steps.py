"""The number of steps of an epoch, for the time left: known after the first epoch, or counted if that is long."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

Batches = Callable[[int, np.random.Generator], Iterable[Any]]
LONG_S = 2.0
"""an epoch that takes longer is told step by step, and its steps are counted"""


class Steps:
    """Steps of an epoch.

    Args:
        batches: (epoch, generator) -> batches; made once more to be counted, with a generator of its own.
        limit: an epoch ends after so many at most.
    """

    def __init__(self, batches: Batches, limit: int | None = None) -> None:
        self.batches, self.limit = batches, limit
        self._known: int | None = None
        self._was_counted = False

    def finished(self, steps: int) -> None:
        """Records the number of steps of a whole epoch."""
        self._known = steps

    def total(self, epoch: int, seconds: float) -> int | None:
        """Steps of this epoch; None if unknown.

        Args:
            epoch: number from 0.
            seconds: how long it has taken so far.
        """
        if self._known is None and not self._was_counted and seconds > LONG_S:
            self._was_counted = True
            self._known = count(self.batches, epoch, self.limit)
        return self._known


def count(batches: Batches, epoch: int, limit: int | None = None, most_s: float = LONG_S) -> int | None:
    """Batches of an epoch, made and thrown away; None where that takes longer than ``most_s``.

    Other generators do not change.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    started, made = time.perf_counter(), 0
    try:
        for _ in batches(epoch, np.random.default_rng(0)):
            made += 1
            if made == limit:
                break
            if time.perf_counter() - started > most_s:
                return None
        return made
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
