"""``ndcg@k``: see :func:`interlingua.evaluate.accuracy.ndcg`."""

from __future__ import annotations

from interlingua.evaluate.accuracy import Values, ndcg
from interlingua.evaluate.judged import Judged, Metric


class NDCG(Metric):
    """DCG of the targets with rank ≤ k, gain 1, discount 1/log2(rank + 1), divided by the best possible one."""

    kind = "metric"

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user."""
        return ndcg(judged.ranks, k)
