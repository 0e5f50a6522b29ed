"""Average popularity of lists (ARP of Yin et al., VLDB 2012; RecTools: AvgRecPopularity)."""

from __future__ import annotations

from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.judged import Judged, Metric
from interlingua.evaluate.metrics._lists import mean_over


class Popularity(Metric):
    """Mean number of training users of the listed items: the higher, the stronger the bias to what is popular."""

    kind = "metric"
    reads = "lists"
    better = "lower"

    def measure(self, judged: Judged, k: int) -> Values:
        """(M,) one value per user."""
        return mean_over(judged.top(k), judged.having)
