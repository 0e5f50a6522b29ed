"""Diversity within a list, by categories: one minus the overlap (Jaccard) of two items' categories, mean over pairs.

Intra-list distance of Ziegler et al., WWW 2005. A pair of which one item has no category says nothing and is left out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.judged import Judged, Metric
from interlingua.evaluate.metrics._lists import mean_over_pairs


def apart(lists: npt.NDArray[np.int64], has: sp.csr_matrix) -> npt.NDArray[np.float64]:
    """(M, k, k) one minus Jaccard of the categories (I, G) of every two places; NaN where an item has none."""
    used, place = np.unique(np.maximum(lists, 0), return_inverse=True)
    place = place.reshape(lists.shape)
    own = has[used].astype(np.float64)
    sizes = np.asarray(own.sum(axis=1)).ravel()
    out = np.empty((*lists.shape, lists.shape[1]))
    for row, items in enumerate(place):
        part = own[items]
        common = (part @ part.T).toarray()
        known = sizes[items]
        union = known[:, None] + known[None, :] - common
        without = (known == 0)[:, None] | (known == 0)[None, :]
        out[row] = np.where(without, np.nan, 1.0 - common / np.where(union > 0, union, 1.0))
    return out


class DiversityCategories(Metric):
    """Mean over pairs of listed items of 1 - Jaccard of their categories."""

    kind = "metric"
    reads = "lists"
    needs = frozenset({"categories"})

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user, NaN for a list without two items that have categories."""
        top = judged.top(k)
        assert judged.facts.categories is not None
        return np.concatenate(
            [np.zeros(0)]
            + [
                mean_over_pairs(block, apart(block, judged.facts.categories))
                for block in np.array_split(top, max(1, len(top) // 1024))
            ]
        )
