"""What a ranker remembers: one state for a key, made once, and not too many of them."""

from __future__ import annotations

import numpy as np
import torch

from interlingua.injection.remembered import Remembered


def test_a_state_is_made_once_for_equal_keys_until_it_is_forgotten() -> None:
    made: list[str] = []
    known = Remembered(most=3)

    def states(keys: str) -> list[float]:
        def make(places: np.ndarray) -> torch.Tensor:
            made.extend(keys[place] for place in places)
            return torch.tensor([[float(ord(keys[place]))] for place in places])

        return known.of(list(keys), make)[:, 0].tolist()

    assert states("aba") == [97, 98, 97]
    assert states("cb") == [99, 98]
    assert made == ["a", "b", "c"]
    assert states("da") == [100, 97], "a fourth one: the earlier ones go, and those of this call are made anew"
    assert made == ["a", "b", "c", "d", "a"]
    known.forget()
    assert states("a") == [97]
    assert made[5:] == ["a"]
