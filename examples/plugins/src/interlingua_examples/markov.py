"""A first-order Markov chain: what most often came right after the last item of the history."""

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


class MarkovConfig(Config):
    """Options of ``markov``."""

    popularity: float = Field(default=0.01, ge=0)
    """weight of an item's share of all events, which decides where nothing followed yet"""


class Markov(Backbone):
    """A table of pairs (I, I): for catalogues of some thousand items."""

    Config = MarkovConfig
    sampling = "none"
    follows: Tensor
    shares: Tensor

    def __init__(self, config: MarkovConfig, train: Interactions) -> None:
        super().__init__(config, train)
        self.register_buffer("follows", torch.zeros(train.num_items, train.num_items))
        self.register_buffer("shares", torch.zeros(train.num_items))

    def fit(self, job: Fitting) -> FitLog:
        """Counts pairs of neighbours in the histories, as shares of what followed an item."""
        train, counts = job.train, np.zeros((self.num_items, self.num_items), np.float32)
        same_user = train.users[1:] == train.users[:-1]
        np.add.at(counts, (train.items[:-1][same_user], train.items[1:][same_user]), 1.0)
        self.follows.copy_(torch.as_tensor(counts / np.maximum(counts.sum(1, keepdims=True), 1.0)))
        self.shares.copy_(torch.as_tensor(train.item_counts / max(len(train), 1)))
        return FitLog.untrained()

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(B, I), or (B, C) of candidates; without a history by popularity alone."""
        follows, shares = self.follows.cpu().numpy(), self.shares.cpu().numpy()
        out = np.tile(np.float32(self.config.popularity) * shares, (len(queries), 1)).astype(np.float32)
        for row in range(len(queries)):
            history = queries.history(row)
            if len(history):
                out[row] += follows[history[-1]]
        return out if items is None else np.take_along_axis(out, np.asarray(items, np.int64), axis=1)
