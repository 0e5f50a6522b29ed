"""States of queries, each computed once while the weights stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch
from torch import Tensor

from interlingua.data.queries import IntArray

REMEMBERED = 20000
"""states that are kept: 46 MB at a width of 576"""


class Remembered:
    """States by what they depend on besides the weights. Who changes the weights must :meth:`forget`.

    Args:
        most: states that are kept; where there would be more, all earlier ones go.
    """

    def __init__(self, most: int = REMEMBERED) -> None:
        self.most = most
        self._known: dict[Hashable, Tensor] = {}

    def forget(self) -> None:
        """Other weights: every state is made anew."""
        self._known.clear()

    def of(self, keys: Sequence[Hashable], make: Callable[[IntArray], Tensor]) -> Tensor:
        """(B, ...) states of B keys, at least one; equal keys have one state.

        Args:
            keys: what the states depend on.
            make: (n,) positions of keys, each of another unknown key -> (n, ...) their states.
        """
        first: dict[Hashable, int] = {}
        for place, key in enumerate(keys):
            first.setdefault(key, place)
        fresh = [place for key, place in first.items() if key not in self._known]
        if len(self._known) + len(fresh) > self.most:
            self._known.clear()
            fresh = list(first.values())
        if fresh:
            made = make(np.asarray(fresh, np.int64))
            self._known |= {keys[place]: state for place, state in zip(fresh, made, strict=True)}
        return torch.stack([self._known[key] for key in keys])
