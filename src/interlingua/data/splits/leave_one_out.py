"""The split ``leave-one-out``."""

from __future__ import annotations

import numpy as np

from interlingua.data.interactions import Interactions
from interlingua.data.split_options import TEST, VALID, Parts, SplitConfig
from interlingua.data.splitter import Dividing, Division, Splitter


class LeaveOneOut(Splitter):
    """Each user's last event is the test target, the one before it the validation target. The default."""

    def divide(self, task: Dividing) -> Division:
        """Users with fewer than 3 events stay in train."""
        few = int((task.interactions.user_counts < 3).sum())
        task.log.decide("users with fewer than 3 events, kept in train whole", few, "filter.min_user = 3")
        return Division(leave_one_out(task.interactions))

    def by_order(self, config: SplitConfig) -> bool:
        """Always."""
        return True


def leave_one_out(interactions: Interactions) -> Parts:
    """(N,) codes; users with fewer than 3 events stay in train."""
    parts = np.zeros(len(interactions), np.int8)
    ends = interactions.offsets[1:][interactions.user_counts >= 3]
    parts[ends - 1] = TEST
    parts[ends - 2] = VALID
    return parts
