"""The base class of closed forms that read texts: item-item weights, and the part of them from texts alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interlingua.backbones._weighted_texts import text_table
from interlingua.backbones.ease import check_size
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries
from interlingua.nn.blockwise import seconds_of_inverse
from interlingua.nn.histories import history_matrix, pick, weighted_sum

MOST_ITEMS = 30_000
"""three to four (I, I) matrices of 3.6 GB each are in memory during the fit"""


class WithTexts(Backbone):
    """Item-item weights ``B`` (I, I), scores ``X B``; subclasses compute them and their part from texts."""

    sampling = "none"
    needs_text = True

    weights: Tensor
    by_texts: Tensor

    def __init__(self, config: Any, train: Interactions) -> None:
        super().__init__(config, train)
        self.register_buffer("weights", torch.zeros(0, 0))
        self.register_buffer("by_texts", torch.zeros(0, 0))
        self.used: dict[str, float] = {}
        """name -> weight of the texts, after :meth:`fit`"""

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Needs the further texts that the weights name."""
        return super().needs(config) | ({"texts"} if config.further else set())

    @classmethod
    def needs_texts(cls, config: Any) -> frozenset[str]:
        """Names of the texts with a weight."""
        return frozenset(config.further)

    def fit_weights(self, job: Fitting, texts: Tensor) -> tuple[Tensor, Tensor]:
        """The weights and their part from texts, (I, I) each; ``texts``: (I, T)."""
        raise NotImplementedError

    @torch.no_grad()
    def fit(self, job: Fitting) -> FitLog:
        """Solves for the weights.

        Raises:
            ConfigError: texts are missing.
            DataError: too many items for dense matrices.
        """
        check_size(job.train, "a closed form with texts", MOST_ITEMS)
        place = self.weights.device
        self.used, texts = text_table(self.config, job)
        self.weights, self.by_texts = (part.to(place) for part in self.fit_weights(job, texts))
        return FitLog.untrained()

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """Records the weight of each source of texts."""
        return {"text_weights": self.used}

    def expected_seconds(self, train: Interactions) -> float:
        """Two to three times the cube of the number of items, at the measured speed of a small inverse."""
        seconds = 2.5 * seconds_of_inverse(train.num_items)
        if train.num_items <= MOST_ITEMS:
            both = torch.ones(4, train.num_items, train.num_items)
            self.weights, self.by_texts = both[0].clone(), both[1].clone()
        return seconds

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Rows of ``X B``."""
        return pick(weighted_sum(history_matrix(queries, self.num_items), self.weights).cpu().numpy(), items)

    @torch.no_grad()
    def score_unseen(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Scores of each item as if it had no events: exact, see ``drawn_to``."""
        return pick(weighted_sum(history_matrix(queries, self.num_items), self.by_texts).cpu().numpy(), items)
