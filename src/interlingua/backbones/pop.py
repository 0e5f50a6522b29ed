"""Popularity: every user gets the items that most users have. The baseline that any recommender must beat."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from interlingua.config import Config
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries


class PopConfig(Config):
    """Options of :class:`Pop`."""

    last_share: float = Field(default=1.0, gt=0, le=1)
    """count only this last part of the training events by time (1: all); needs real times, not orders, to mean much"""


class Pop(Backbone):
    """Scores are numbers of users who have the item in training."""

    Config = PopConfig
    sampling = "none"
    without_events = 0.0
    welcomes_newcomers = True

    counts: Tensor

    @classmethod
    def needs(cls, config: PopConfig) -> frozenset[str]:
        """Times, to tell what is the last of them."""
        return super().needs(config) | ({"times"} if config.last_share < 1.0 else frozenset())

    def __init__(self, config: PopConfig, train: Interactions) -> None:
        super().__init__(config, train)
        self.register_buffer("counts", torch.zeros(train.num_items))

    def fit(self, job: Fitting) -> FitLog:
        """Counts distinct users per item."""
        train = job.train
        if self.config.last_share < 1.0 and len(train):
            train = train.filter(train.times >= np.quantile(train.times, 1.0 - self.config.last_share))
        counts = np.asarray(train.matrix().sum(axis=0)).ravel()
        self.counts = torch.as_tensor(counts, dtype=torch.float32, device=self.counts.device)
        return FitLog.untrained()

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """The same counts for every query."""
        counts = self.counts.cpu().numpy()
        if items is None:
            return np.repeat(counts[None, :], len(queries), axis=0)
        return counts[np.asarray(items, np.int64)]
