"""Novelty: how surprising an item is, in bits (Zhou et al., PNAS 2010; RecTools: MeanInvUserFreq).

``-log2(users who have the item / users)``, mean over the places of a list. An item that nobody has counts as one that
one user has: it has no finite self-information.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.judged import Judged, Metric
from interlingua.evaluate.metrics._lists import mean_over


def self_information(having: npt.NDArray[np.int64], num_users: int) -> Values:
    """(I,) bits of each item, from the (I,) numbers of users who have it."""
    return -np.log2(np.maximum(having, 1) / num_users)


class Novelty(Metric):
    """Mean self-information of the listed items, in bits: -log2 of the share of users who have the item."""

    kind = "metric"
    reads = "lists"

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user."""
        users = int((judged.known().user_counts > 0).sum())
        return mean_over(judged.top(k), self_information(judged.having, users))
