"""What users said of items before a question: the last liked and disliked ones.

Shape key: B queries, L events.
"""

from __future__ import annotations

import numpy as np

from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, IntArray, Queries


def last_opinions(queries: Queries, labelled: Interactions | None, length: int) -> tuple[IntArray, IntArray]:
    """The last ``length`` events of each query, as two lists.

    Histories hold liked items. A known user's disliked ones come from the labelled training events; an unknown user has
    none. Both are put in the order of their times; where a query knows no times, dislikes are taken as older.

    Args:
        queries: B users with the items that they liked.
        labelled: training events with their labels; None: nothing is known to be disliked.
        length: L.

    Returns:
        (B, L) liked and (B, L) disliked item indices, oldest first, PAD elsewhere: each event stands in one of the two.
    """
    liked = np.full((len(queries), length), PAD, np.int64)
    disliked = liked.copy()
    for row in range(len(queries)):
        own, times = queries.history(row), queries.history_times(row)
        bad, bad_times = _disliked(labelled, int(queries.users[row]))
        items = np.concatenate([bad, own]).astype(np.int64)
        good = np.arange(len(items)) >= len(bad)
        order = np.arange(len(items))
        if times is not None and len(bad):
            order = np.argsort(np.concatenate([bad_times, times]), kind="stable")
        last = order[-length:]
        start = length - len(last)
        liked[row, start:] = np.where(good[last], items[last], PAD)
        disliked[row, start:] = np.where(good[last], PAD, items[last])
    return liked, disliked


def _disliked(labelled: Interactions | None, user: int) -> tuple[IntArray, IntArray]:
    """Items that a training user did not like, and when."""
    if labelled is None or labelled.labels is None or user < 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    own = slice(labelled.offsets[user], labelled.offsets[user + 1])
    bad = ~labelled.labels[own]
    return labelled.items[own][bad], labelled.times[own][bad]
