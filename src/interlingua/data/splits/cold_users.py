"""The split ``cold-users``: people of whom almost nothing is known, and nothing in training.

Source: A-LLMRec (arXiv 2404.11343), the cold-user scenario: sampled users with exactly three events, the last one held
out; models are trained on all other users. The paper leaves open whether the second event is history: here it is.
Also with fewer events (``events = 2`` or ``1``, ``shown = 1`` or ``0``), which the paper did not measure.

**Deviation:** all users with so few events are cold, not a sample. Where nobody has so few (movielens), ``fraction``
makes some: random users of whom only the first events are kept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from interlingua.data.interactions import Interactions
from interlingua.data.split_options import SHOWN, TEST, TRAIN, UNUSED, VALID, Parts, SplitConfig
from interlingua.data.splitter import Dividing, Division, Splitter, last_of_each
from interlingua.errors import DataError


class ColdUsers(Splitter):
    """Users with exactly so many events (3) are left out of training; the last is the target, the others are shown."""

    def divide(self, task: Dividing) -> Division:
        """Validation: the last event of each other user who has at least three."""
        config, events = task.config, task.interactions
        cold = cold_users(events, config, task.seed)
        parts = parts_of(events, cold, config)
        task.log.decide(
            "cold users, held out of training" if not config.trained else "cold users, tested",
            int(cold.sum()), "split.events, split.fraction",
        )  # fmt: skip
        about: dict[str, str | int] = {"cold users": int(cold.sum())}
        if config.fraction is not None:
            about["seed"] = task.seed
        unused = "events of cold users, in no part", "split.shown"
        return Division(parts, unseen=not config.trained, about=about, unused=unused)

    def id(self, config: SplitConfig, seed: int) -> str:
        """e.g. ``cold-users-3-shown-2``, ``cold-users-3-shown-2-fraction0.2-seed7``."""
        drawn = "" if config.fraction is None else f"-fraction{config.fraction:g}-seed{seed}"
        return f"cold-users-{config.events}-shown-{_shown(config)}{drawn}{'-trained' if config.trained else ''}"

    def by_order(self, config: SplitConfig) -> bool:
        """Always."""
        return True


def cold_users(interactions: Interactions, config: SplitConfig, seed: int) -> npt.NDArray[np.bool_]:
    """(U,) the cold users.

    Raises:
        DataError: nobody is one, or everybody.
    """
    counts = interactions.user_counts
    cold = np.asarray(counts == config.events)
    if config.fraction is not None:
        enough = np.flatnonzero(counts >= config.events)
        drawn = np.random.default_rng(seed).permutation(enough)[: round(config.fraction * len(enough))]
        cold = np.isin(np.arange(len(counts)), drawn)
    if not cold.any():
        fewest = int(counts[counts > 0].min())
        raise DataError(
            f'split "cold-users": no user has exactly {config.events} events (the fewest are {fewest}); lower '
            "filter.min_user, or make cold users of some: --set data.split.fraction=0.2"
        )
    if counts[~cold].max(initial=0) < 2:
        raise DataError(
            f'split "cold-users": {int(cold.sum())} of {int((counts > 0).sum())} users are cold, and nobody else has '
            "two events to train on; give another split.events"
        )
    return cold


def parts_of(interactions: Interactions, cold: npt.NDArray[np.bool_], config: SplitConfig) -> Parts:
    """(N,) codes; ``cold``: (U,)."""
    counts, mine = interactions.user_counts, cold[interactions.users]
    place = np.arange(len(interactions)) - np.repeat(interactions.offsets[:-1], counts)  # of each event, from 0
    parts = np.zeros(len(interactions), np.int8)
    parts[last_of_each(interactions, ~cold & (counts >= 3))] = VALID
    target = config.events - 1
    read = (place < target) & (place >= target - _shown(config))
    parts[mine] = UNUSED
    parts[mine & read] = TRAIN if config.trained else SHOWN
    parts[mine & (place == target)] = TEST
    return parts


def _shown(config: SplitConfig) -> int:
    return config.events - 1 if config.shown is None else config.shown
