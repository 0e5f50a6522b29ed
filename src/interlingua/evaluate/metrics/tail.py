"""Share of the long tail in lists (APLT of Abdollahpouri et al., FLAIRS 2019).

The head are the most popular items that together have 80 % of the training users (Pareto's rule); the tail is the rest
of the catalogue, items without an event included.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.judged import Judged, Metric
from interlingua.evaluate.metrics._lists import mean_over

HEAD = 0.8
"""fraction of all (user, item) pairs of training in the head"""


def long_tail(having: npt.NDArray[np.int64], head: float = HEAD) -> npt.NDArray[np.bool_]:
    """(I,) True for the tail: all items except the fewest most popular ones that have ``head`` of all pairs."""
    order = np.argsort(-having, kind="stable")
    before = np.concatenate([[0], np.cumsum(having[order])[:-1]])
    out = np.ones(len(having), bool)
    out[order] = before >= head * having.sum()
    return out


class Tail(Metric):
    """Share of the listed items that are in the long tail: outside the head that has 80 % of the training events."""

    kind = "metric"
    reads = "lists"

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user."""
        return mean_over(judged.top(k), long_tail(judged.having))
