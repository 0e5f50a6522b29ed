"""Coverage of the catalogue: the share of items that anybody is shown (RecTools, RecBole: ItemCoverage)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.judged import Judged, Metric


def coverage(lists: npt.NDArray[np.int64], num_items: int) -> float:
    """Share of ``num_items`` that stand in at least one of the (M, k) lists (-1: an empty place)."""
    return len(np.unique(lists[lists >= 0])) / num_items


class Coverage(Metric):
    """Share of the catalogue that stands in at least one list."""

    kind = "metric"
    reads = "lists"

    weighs = True

    def weighed(self, judged: Judged, k: int, weights: Values) -> Values:
        """(R,) share of the items that stand in a list of a user who was drawn."""
        return np.asarray(((judged.shown(k).T @ weights.T) > 0).mean(axis=0))

    def measure(self, judged: Judged, k: int) -> float:
        """One number of all users together."""
        return coverage(judged.top(k), judged.known().num_items)
