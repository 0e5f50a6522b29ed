"""F1 of a list: the harmonic mean of its precision and its recall (van Rijsbergen 1979)."""

from __future__ import annotations

from interlingua.evaluate.accuracy import Values, precision
from interlingua.evaluate.judged import Judged, Metric


class F1(Metric):
    """2 h / (k + t) for h hits among the first k places and t targets: written ``f1@k``."""

    reads = "ranks"

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) in 0..1; NaN for a user without a target."""
        ranks = judged.ranks
        return 2.0 * k * precision(ranks, k) / (k + ranks.counts)
