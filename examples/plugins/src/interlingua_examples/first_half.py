"""A split for a shop that opens anew: the first half of each user's events is known, the next one is looked for."""

from __future__ import annotations

import numpy as np

from interlingua.data.split_options import TEST, UNUSED, VALID
from interlingua.data.splitter import Dividing, Division, Splitter


class FirstHalf(Splitter):
    """The first half of each user's events, its last one for validation; the event after it is the target."""

    kind = "split"

    def divide(self, task: Dividing) -> Division:
        """Users with fewer than four events stay in train."""
        events = task.interactions
        counts = events.user_counts
        place = np.arange(len(events)) - np.repeat(events.offsets[:-1], counts)  # of each event, from 0
        half = np.repeat(counts // 2, counts)
        enough = np.repeat(counts >= 4, counts)
        parts = np.zeros(len(events), np.int8)
        parts[enough & (place == half - 1)] = VALID
        parts[enough & (place == half)] = TEST
        parts[enough & (place > half)] = UNUSED
        return Division(parts, unused=("events of the second half", "another split"))
