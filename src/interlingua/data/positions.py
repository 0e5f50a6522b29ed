"""The kind of a dataset's times: moments, positions in each user's own history, some other order, or none."""

from __future__ import annotations

from typing import Literal

import numpy as np

from interlingua.data.interactions import Interactions
from interlingua.data.raw import TimeKind

Times = Literal["seconds", "positions", "order", "rows"]
"""``seconds``: moments, comparable between users; ``positions``: 0, 1, 2, ... of each user's own history; ``order``:
other small numbers; ``rows``: no times, the order of the rows replaces them"""
WHY_NOT = {
    "positions": (
        "the times of this source are positions in each user's own history (0, 1, 2, ... for everyone), so that one "
        'moment would cut every user at the same position; use split = "leave-one-out" or "ratio" with by = "time"'
    ),
    "order": (
        "this source has only an order: its times are numbers below 100,000,000; if they are seconds all "
        'the same: clean.time_unit = "s"; else use split = "leave-one-out" or "ratio"'
    ),
    "rows": (
        'this source has no times, only an order of rows; use split = "leave-one-out" or "ratio", or name the column '
        "of times with columns.timestamp"
    ),
}
"""reasons for refusing a split by moments"""


def are_positions(interactions: Interactions) -> bool:
    """Whether every user's times are 0, 1, 2, ... or 1, 2, 3, ..., and at least one user has three events."""
    counts = interactions.user_counts
    if not len(interactions) or counts.max() < 3:
        return False
    rank = np.arange(len(interactions)) - np.repeat(interactions.offsets[:-1], counts)
    above = interactions.times - rank
    return bool(((above == above[0]) & ((above == 0) | (above == 1))).all())


def what_times(interactions: Interactions, kind: TimeKind, stated: str | None, ties: str) -> Times:
    """See :data:`Times`.

    Args:
        interactions: all events of the source, before filters make gaps.
        kind: how the values were read.
        stated: the source's statement.
        ties: ``rows`` if there are no times.
    """
    if ties == "rows":
        return "rows"
    if (stated == "order" and kind == "order") or are_positions(interactions):
        return "positions"
    return kind
