"""``mrr@k``: see :func:`interlingua.evaluate.accuracy.mrr`."""

from __future__ import annotations

from interlingua.evaluate.accuracy import Values, mrr
from interlingua.evaluate.judged import Judged, Metric


class MRR(Metric):
    """1 / best rank if that is ≤ k, else 0."""

    kind = "metric"

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user."""
        return mrr(judged.ranks, k)
