"""Gini coefficient of exposure: how unevenly the places of all lists are shared out among the items.

``G = sum_j (2 j - I - 1) x_j / (I sum x)`` with the exposures x in ascending order (Fleder & Hosanagar 2009; the form
of RecBole's GiniIndex): 0 where every item is shown equally often, 1 - 1/I where one item has every place.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.judged import Judged, Metric


def gini(exposures: npt.NDArray[np.int64]) -> float:
    """The coefficient of (I,) counts; NaN where all are 0."""
    ordered, size = np.sort(exposures), len(exposures)
    if not ordered.sum():
        return float("nan")
    return float(((2 * np.arange(1, size + 1) - size - 1) * ordered).sum() / (size * ordered.sum()))


class Gini(Metric):
    """Unevenness of exposure over the catalogue: 0 is even, near 1 a few items fill all lists."""

    kind = "metric"
    reads = "lists"
    better = "lower"

    weighs = True

    def weighed(self, judged: Judged, k: int, weights: Values) -> Values:
        """(R,) of the exposures by the users who were drawn."""
        exposures = np.sort(judged.shown(k).T @ weights.T, axis=0)
        size = len(exposures)
        signs = 2 * np.arange(1, size + 1) - size - 1
        return (signs @ exposures) / np.maximum(size * exposures.sum(axis=0), 1e-12)

    def measure(self, judged: Judged, k: int) -> float:
        """One number of all users together."""
        top = judged.top(k)
        return gini(np.bincount(top[top >= 0], minlength=judged.known().num_items))
