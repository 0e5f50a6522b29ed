"""The split ``few-shot``: a model of a few users, asked by all others.

Source: A-LLMRec (arXiv 2404.11343), table 6: 256 or 128 random users train everything, the collaborative model
included. **Deviation, since the paper does not say who is tested:** all other users, of whom no event is trained on.
The catalogue is the whole one; items that the training users have not are without a training event.
"""

from __future__ import annotations

import numpy as np

from interlingua.data.split_options import SHOWN, TEST, UNUSED, VALID, SplitConfig
from interlingua.data.splitter import Dividing, Division, Splitter, last_of_each
from interlingua.errors import DataError

LEAST = 3
"""events of a training user: two to train on, one for validation"""


class FewShot(Splitter):
    """So many random users (256) are trained on; all others are unseen, and asked for their last event."""

    def divide(self, task: Dividing) -> Division:
        """Of a training user the last event is for validation; fewer training users are among the more."""
        config, events = task.config, task.interactions
        counts = events.user_counts
        able = np.flatnonzero(counts >= LEAST)
        training = np.zeros(len(counts), bool)
        training[np.random.default_rng(task.seed).permutation(able)[: config.users]] = True
        tested = ~training & (counts >= 2)
        if len(able) < config.users or not tested.any():
            raise DataError(
                f'split "few-shot": split.users = {config.users}, and {len(able)} users have the {LEAST} events that '
                "a training user needs; nobody would be left to test: give fewer"
            )
        parts = np.zeros(len(events), np.int8)
        parts[~training[events.users]] = UNUSED
        parts[tested[events.users]] = SHOWN
        parts[last_of_each(events, training)] = VALID
        parts[last_of_each(events, tested)] = TEST
        task.log.decide("users left out of training, all of them tested", int(tested.sum()), "split.users")
        unused = "events of users with a single event, in no part", "filter.min_user = 2"
        return Division(parts, unseen=True, about={"seed": task.seed}, unused=unused)

    def id(self, config: SplitConfig, seed: int) -> str:
        """e.g. ``few-shot-256-seed7``."""
        return f"few-shot-{config.users}-seed{seed}"

    def by_order(self, config: SplitConfig) -> bool:
        """Always."""
        return True
