"""The split ``ratio``."""

from __future__ import annotations

import numpy as np

from interlingua.data.interactions import Interactions
from interlingua.data.split_options import TEST, VALID, Parts, SplitConfig
from interlingua.data.splitter import Dividing, Division, Splitter


class Ratio(Splitter):
    """Fractions of each user's events, random ones or the last ones (RLMRec's 3:1:1)."""

    def divide(self, task: Dividing) -> Division:
        """See :func:`ratio`."""
        config = task.config
        parts = ratio(task.interactions, config.valid, config.test, config.by, task.seed)
        about: dict[str, str | int] = {"seed": task.seed} if config.by == "random" else {}
        return Division(parts, config.by == "time", about=about)

    def id(self, config: SplitConfig, seed: int) -> str:
        """e.g. ``ratio-0.6-0.2-0.2-random-seed7``."""
        seeded = f"-seed{seed}" if config.by == "random" else ""
        return f"ratio-{1 - config.valid - config.test:g}-{config.valid:g}-{config.test:g}-{config.by}{seeded}"

    def by_order(self, config: SplitConfig) -> bool:
        """With ``by = "time"``."""
        return config.by == "time"


def ratio(interactions: Interactions, valid: float, test: float, by: str, seed: int) -> Parts:
    """(N,) codes; fractions of each user's events, rounded half up; at least one event per user stays in train."""
    counts = interactions.user_counts
    key = np.random.default_rng(seed).random(len(interactions)) if by == "random" else np.arange(len(interactions))
    order = np.lexsort((key, interactions.users))
    from_end = np.empty(len(order), np.int64)
    from_end[order] = np.repeat(interactions.offsets[1:], counts) - 1 - np.arange(len(order))
    num_test = np.minimum(np.floor(counts * test + 0.5), np.maximum(counts - 1, 0)).astype(np.int64)
    num_valid = np.minimum(np.floor(counts * valid + 0.5), np.maximum(counts - 1 - num_test, 0)).astype(np.int64)
    parts = np.zeros(len(order), np.int8)
    parts[from_end < (num_test + num_valid)[interactions.users]] = VALID
    parts[from_end < num_test[interactions.users]] = TEST
    return parts
