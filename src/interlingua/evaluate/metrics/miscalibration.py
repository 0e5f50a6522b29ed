"""Calibration of categories: how far a list's mix of them is from that of the history (Steck, RecSys 2018).

``KL(p || q~)`` with ``p(g)`` the share of category g in the history and ``q~ = (1 - a) q + a p``, q its share in the
list, a = 0.01 (equations 1 to 4, natural logarithm). An item shares its weight equally among its categories.
**Deviations:** every event of the history has the same weight; items without categories are left out of both.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.judged import Judged, Metric

SMOOTHING = 0.01


def miscalibration(
    history: npt.NDArray[np.float64], listed: npt.NDArray[np.float64], smoothing: float = SMOOTHING
) -> Values:
    """(M,) the divergence of (M, G) mixes, each row summing to 1 or, where nothing is known, to 0: then NaN."""
    mixed = (1 - smoothing) * listed + smoothing * history
    ratio = np.divide(history, mixed, out=np.ones_like(history), where=history > 0)
    out = (history * np.log(ratio)).sum(axis=1)
    unknown = (history.sum(axis=1) == 0) | (listed.sum(axis=1) == 0)
    return np.where(unknown, np.nan, out)


def mixes(counts: sp.csr_matrix, weights: sp.csr_matrix) -> npt.NDArray[np.float64]:
    """(M, G) mix of categories of M sets of items: counts (M, I) times weights (I, G), rows summing to 1 or 0."""
    total = (counts @ weights).toarray()
    size = total.sum(axis=1, keepdims=True)
    return np.divide(total, size, out=np.zeros_like(total), where=size > 0)


class Miscalibration(Metric):
    """Divergence of the list's mix of categories from the history's; 0: the same mix."""

    kind = "metric"
    reads = "lists"
    better = "lower"
    needs = frozenset({"categories"})

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user, NaN where history or list has no item with a category."""
        top, queries, has = judged.top(k), judged.queries, judged.facts.categories
        assert queries is not None
        assert has is not None
        weights = has.multiply(1.0 / np.maximum(has.sum(axis=1), 1)).tocsr()
        shape = (len(top), has.shape[0])
        owner, place = np.nonzero(top >= 0)
        listed = sp.csr_matrix((np.ones(len(owner)), (owner, top[owner, place])), shape)
        had = sp.csr_matrix((np.ones(len(queries.items)), queries.items, queries.offsets), shape)
        return miscalibration(mixes(had, weights), mixes(listed, weights))
