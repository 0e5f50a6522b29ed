"""EASE on interactions plus EASE on texts, both as products of vectors: for catalogues too large for (I, I) matrices.

As ``additive-ease`` (whose file says more), with ``low-rank-ease`` in place of EASE. The texts' part is exact: its rank
is their width. Items without events are scored by their texts.

**Deviations:** those of ``low-rank-ease`` and ``additive-ease``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from interlingua.backbones._low_rank import ByVectors
from interlingua.backbones._weighted_texts import ReadTexts, TextWeights, read_texts, text_table
from interlingua.contracts.added import AddedItems
from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries
from interlingua.nn.low_rank import ease_towers, text_towers


class LowRankAdditiveEaseConfig(TextWeights):
    """Options of :class:`LowRankAdditiveEase`."""

    l2: float = Field(default=300.0, gt=0)
    """ridge of EASE's weights"""
    fraction: float = Field(default=0.5, ge=0, le=1)
    """of the texts' weights; the rest is EASE's"""
    text_ridge: float = Field(default=10.0, gt=0)
    """ridge of the texts' weights, for text vectors of root mean square length 1"""
    rank: int = Field(default=512, ge=1)
    """directions of interactions that are kept"""


class LowRankAdditiveEase(ByVectors):
    """Two forms of low rank, added: their vectors stand side by side."""

    Config = LowRankAdditiveEaseConfig
    config: LowRankAdditiveEaseConfig
    version = 2
    needs_text = True
    text_width: torch.Tensor

    def __init__(self, config: LowRankAdditiveEaseConfig, train: Interactions) -> None:
        super().__init__(config, train)
        self.register_buffer("text_width", torch.zeros((), dtype=torch.int64))
        self.used: dict[str, float] = {}
        self._read: ReadTexts | None = None

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Needs the further texts that the weights name."""
        return super().needs(config) | ({"texts"} if config.further else set())

    @classmethod
    def needs_texts(cls, config: Any) -> frozenset[str]:
        """Names of the texts with a weight."""
        return frozenset(config.further)

    @torch.no_grad()
    def fit(self, job: Fitting) -> FitLog:
        """A truncated decomposition and two small inverses.

        Raises:
            ConfigError: texts are missing.
        """
        config = self.config
        self.used, texts = text_table(config, job)
        summed, scored = ease_towers(job.train.matrix(), config.rank, config.l2)
        of_texts, by_texts = text_towers(texts, config.text_ridge)
        self.keep(
            torch.cat([(1 - config.fraction) * summed, config.fraction * of_texts], dim=1),
            torch.cat([scored, by_texts], dim=1),
        )
        self.text_width.fill_(texts.shape[1])
        return FitLog.untrained()

    @torch.no_grad()
    def extended(self, added: AddedItems) -> LowRankAdditiveEase | None:
        """The texts' part of all items anew; the interactions' part says nothing of an item without events."""
        self._read = self._read or read_texts(self.config, added.job)
        texts = None if self._read is None else self._read.added(added)
        if self._read is None or texts is None:
            return None
        of_texts, by_texts = text_towers(torch.cat([self._read.table, texts]), self.config.text_ridge)
        rank = self.summed.shape[1] - int(self.text_width)
        parts = [(self.summed, self.config.fraction * of_texts), (self.scored, by_texts)]
        summed, scored = (
            torch.cat([torch.cat([old[:, :rank], old.new_zeros(added.count, rank)]), texts.to(old)], dim=1)
            for old, texts in parts
        )
        return self.longer(added, summed=summed, scored=scored)

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """Records the weight of each source of texts."""
        return {"text_weights": self.used}

    @torch.no_grad()
    def score_unseen(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """What the texts alone say of each item."""
        return self.products(queries, items, self.scored.shape[1] - int(self.text_width))
