"""EASE for catalogues too large for (I, I) matrices: its weights as products of vectors.

The Gram matrix ``X'X`` is taken as its ``rank`` leading directions and the whole of its diagonal; the inverse then has
a closed form (:func:`interlingua.nn.low_rank.ease_towers`). Memory and time grow with the items, not with their square
or cube. Dot products rank every item outside the history, so an approximate index can serve lists of them; an item of
the history says nothing of itself, as in EASE, so where such items may come out, whole rows of scores are looked at.

**Deviations from Steck 2019:** what the other directions say is lost: little on dense data, much on sparse data
(benchmarks/LOG.md).
"""

from __future__ import annotations

from pydantic import Field

from interlingua.backbones._low_rank import ByVectors
from interlingua.config import Config
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.nn.low_rank import ease_towers


class LowRankEaseConfig(Config):
    """Options of :class:`LowRankEase`."""

    l2: float = Field(default=500.0, gt=0)
    """ridge weight, as in ``ease``"""
    rank: int = Field(default=512, ge=1)
    """directions that are kept; more cost time, and come nearer to ``ease``"""


class LowRankEase(ByVectors):
    """EASE of a Gram matrix of low rank."""

    Config = LowRankEaseConfig
    config: LowRankEaseConfig
    version = 2
    without_events = 0.0

    def fit(self, job: Fitting) -> FitLog:
        """One truncated decomposition, one small inverse."""
        self.keep(*ease_towers(job.train.matrix(), self.config.rank, self.config.l2))
        return FitLog.untrained()
