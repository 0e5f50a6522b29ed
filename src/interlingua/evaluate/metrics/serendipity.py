"""Serendipity: items that are relevant and that popularity alone would not have found (RecTools' definition).

``sum_i max(P(i) - P_u(i), 0) rel(i) / k`` over the places i of a list, with ``P(i) = (I + 1 - i) / I`` and ``P_u(i)``
the same of the item's place by popularity, 0 for an item that nobody has. k divides shorter lists, too.
**Deviation:** items are placed one after the other, equally popular ones by row; RecTools numbers the *different*
counts, so that with a few hundred of those nearly every item stands near the top. Where all counts differ both agree.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.judged import Judged, Metric


def serendipity(
    lists: npt.NDArray[np.int64], relevant: npt.NDArray[np.bool_], having: npt.NDArray[np.int64], k: int
) -> Values:
    """(M,) the sum above.

    Args:
        lists: (M, k) item indices, best first, -1 for an empty place.
        relevant: (M, k) whether the user was held out that item.
        having: (I,) training users of each item.
        k: the divisor.
    """
    size = len(having)
    place = np.empty(size, np.int64)
    place[np.argsort(-having, kind="stable")] = np.arange(1, size + 1)
    own = (size + 1 - np.arange(1, lists.shape[1] + 1)) / size
    usual = np.where(having > 0, (size + 1 - place) / size, 0.0)
    surprise = np.maximum(own[None, :] - usual[lists], 0.0)
    return np.where(relevant & (lists >= 0), surprise, 0.0).sum(axis=1) / k


class Serendipity(Metric):
    """Hits that a list by popularity would have placed lower: relevance times surprise, divided by k."""

    kind = "metric"
    reads = "lists"

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user."""
        assert judged.targets is not None
        lists, size = judged.top(k), judged.known().num_items
        offsets = np.arange(len(lists))[:, None] * size
        relevant = np.isin(offsets + lists, judged.targets.owners * size + judged.targets.items) & (lists >= 0)
        return serendipity(lists, relevant, judged.having, k)
