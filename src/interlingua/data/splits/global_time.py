"""The split ``global-time``."""

from __future__ import annotations

import numpy as np

from interlingua.data.interactions import Interactions
from interlingua.data.item_cold import moment_of
from interlingua.data.split_options import TEST, TRAIN, UNUSED, VALID, Parts, SplitConfig
from interlingua.data.splitter import Dividing, Division, Splitter


class GlobalTime(Splitter):
    """Two moments cut all users alike: nothing of the future is known."""

    def divide(self, task: Dividing) -> Division:
        """See :func:`global_time`."""
        task.needs_times('split "global-time"')
        parts, valid_from, test_from = global_time(task.interactions, task.config)
        about: dict[str, str | int] = {"valid_from": str(valid_from), "test_from": str(test_from)}
        return Division(
            parts, about=about, unused=("events after a user's next one, in no part", 'split.targets = "all"')
        )

    def id(self, config: SplitConfig, seed: int) -> str:
        """e.g. ``global-time-0.1-0.1``."""
        cuts = [
            f"{fraction:g}" if moment is None else f"from{moment}"
            for fraction, moment in ((config.valid, config.valid_from), (config.test, config.test_from))
        ]
        return f"global-time-{'-'.join(cuts)}" + ("-next" if config.targets == "next" else "")

    def by_order(self, config: SplitConfig) -> bool:
        """With ``targets = "next"``."""
        return config.targets == "next"


def global_time(interactions: Interactions, config: SplitConfig) -> tuple[Parts, int, int]:
    """(N,) codes, and the first seconds of validation and test: events of the same second are never separated."""
    times = interactions.times
    test_from = config.test_from
    if test_from is None:
        test_from = moment_of(times, config.test)
    valid_from = config.valid_from
    if valid_from is None:
        earlier = times[times < test_from]
        fraction = config.valid / (1 - config.test)
        valid_from = min(moment_of(earlier, fraction), test_from) if len(earlier) else test_from
    parts = np.where(times >= test_from, TEST, np.where(times >= valid_from, VALID, TRAIN)).astype(np.int8)
    if config.targets == "next":
        for part in (VALID, TEST):
            indices = np.flatnonzero(parts == part)
            first = np.ones(len(indices), bool)
            first[1:] = interactions.users[indices[1:]] != interactions.users[indices[:-1]]
            # later validation events are known at test time, but targets are all that a split stores of a part
            parts[indices[~first]] = UNUSED
    return parts, valid_from, test_from
