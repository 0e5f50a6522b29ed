"""``hit@k``: see :func:`interlingua.evaluate.accuracy.hit`."""

from __future__ import annotations

from interlingua.evaluate.accuracy import Values, hit
from interlingua.evaluate.judged import Judged, Metric


class Hit(Metric):
    """1 if any target has rank ≤ k, else 0."""

    kind = "metric"

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user."""
        return hit(judged.ranks, k)
