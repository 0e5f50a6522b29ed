"""Negatives of which a part is drawn by popularity, the rest uniformly (mixed negative sampling, Yang et al. 2020)."""

from __future__ import annotations

import numpy as np

from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray
from interlingua.training.batches import Int64, Negatives


class MixedNegatives(Negatives):
    """Uniform draws among what a user has not, and beside them items of random events, whoever's: also the user's own.

    An item of a random event is drawn with its fraction of all events, as the other targets of a batch are.
    """

    def __init__(self, train: Interactions, popular: float) -> None:
        super().__init__(train)
        self.popular = popular
        """fraction of the draws per entry, rounded to whole ones"""
        self._items = train.items

    def draw(self, users: IntArray, generator: np.random.Generator, num: int | None = None) -> Int64:
        """See :meth:`interlingua.training.batches.Negatives.draw`; the last of ``num`` draws are the popular ones."""
        drawn = super().draw(users, generator, 1 if num is None else num)
        popular = round(self.popular * drawn.shape[-1])
        if popular:
            events = generator.integers(0, len(self._items), (*drawn.shape[:-1], popular))
            drawn[..., -popular:] = self._items[events]
        return drawn[..., 0] if num is None else drawn
