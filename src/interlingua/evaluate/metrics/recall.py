"""``recall@k``: see :func:`interlingua.evaluate.accuracy.recall`."""

from __future__ import annotations

from interlingua.evaluate.accuracy import Values, recall
from interlingua.evaluate.judged import Judged, Metric


class Recall(Metric):
    """Share of the user's targets with rank ≤ k."""

    kind = "metric"

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user."""
        return recall(judged.ranks, k)
