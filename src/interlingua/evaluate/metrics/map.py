"""``map@k``: see :func:`interlingua.evaluate.accuracy.average_precision`."""

from __future__ import annotations

from interlingua.evaluate.accuracy import Values, average_precision
from interlingua.evaluate.judged import Judged, Metric


class MAP(Metric):
    """Sum of precision@rank over targets with rank ≤ k, divided by the number of targets."""

    kind = "metric"

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user."""
        return average_precision(judged.ranks, k)
