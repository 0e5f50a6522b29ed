"""Equal bits from equal seeds: sums in one fixed order on CPUs with several threads, and loading that draws nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def undisturbed() -> Iterator[None]:
    """What the block draws from the shared generators (python, numpy, torch on the CPU) leaves them as they were.

    Loading a model draws numbers for weights that are overwritten at once. Where a model is kept in memory, whoever
    asks second would otherwise find the generators in another state than whoever asks first.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@contextmanager
def repeatable(on_cpu: bool = True) -> Iterator[None]:
    """Torch's deterministic algorithms, for the block; what it was set to before comes back.

    Without them the gradient of ``table[rows]`` is summed by whichever thread comes first (19 of 20 backward passes
    differed). On accelerators nothing is changed: there, determinism costs speed and is the user's choice.
    """
    if not on_cpu or torch.are_deterministic_algorithms_enabled():
        yield
        return
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    torch.set_deterministic_debug_mode(
        "warn"
    )  # use_deterministic_algorithms does the same and loads the compiler: 1.3 s
    memory.fill_uninitialized_memory = False  # a debugging aid, which costs time
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode("default")
        memory.fill_uninitialized_memory = filled
