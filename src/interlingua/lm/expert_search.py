"""Which part of a mixture's experts every layer uses: random shapes, drawn for a search.

MixRec (arXiv 2408.07427) chooses its experts layer by layer with Bayesian optimisation. How is not known to us: here
every layer draws a number of experts and a rank, each equally likely of at most three values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from interlingua.lm.experts import MixtureOptions, Shape


def values_up_to(largest: int) -> tuple[int, ...]:
    """The largest value, its half and its quarter, those that are 1 and more, ascending: 8 gives 2, 4, 8."""
    return tuple(sorted({each for each in (largest, largest // 2, largest // 4) if each >= 1}))


def widest(options: MixtureOptions, layers: int) -> Shape:
    """All experts with the largest rank in each of the ``layers``."""
    return Shape((options.experts,) * layers, (options.rank,) * layers)


def drawn(options: MixtureOptions, layers: int, choose: Callable[[int], Sequence[int]]) -> Shape:
    """A random shape.

    Args:
        options: the largest values.
        layers: how many.
        choose: (n) -> a whole number from 0 to n - 1 for each layer.
    """
    counts, ranks = values_up_to(options.experts), values_up_to(options.rank)
    chosen = [[values[at] for at in choose(len(values))] for values in (counts, ranks)]
    return Shape(tuple(chosen[0]), tuple(chosen[1]))


def drawn_in_training(options: MixtureOptions, layers: int) -> Shape:
    """A random shape by PyTorch's global generator, which a training loop seeds."""
    return drawn(options, layers, lambda count: torch.randint(count, (layers,)).tolist())


def to_try(options: MixtureOptions, layers: int, trials: int, seed: int) -> list[Shape]:
    """The widest shape, and ``trials`` random ones."""
    generator = np.random.default_rng(seed)
    random = [drawn(options, layers, lambda n: generator.integers(n, size=layers).tolist()) for _ in range(trials)]
    return [widest(options, layers), *random]
