"""``precision@k``: see :func:`interlingua.evaluate.accuracy.precision`."""

from __future__ import annotations

from interlingua.evaluate.accuracy import Values, precision
from interlingua.evaluate.judged import Judged, Metric


class Precision(Metric):
    """Targets with rank ≤ k, divided by k."""

    kind = "metric"

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user."""
        return precision(judged.ranks, k)
