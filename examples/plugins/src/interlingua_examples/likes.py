"""Logistic matrix factorisation: the probability that a user likes an item, from what they liked and what they did not.

Source: Johnson, "Logistic Matrix Factorization for Implicit Feedback Data", 2014, without its weights of confidence.
With ``labels`` the negatives are the events that the data label as not liked; without, they are drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.config import Config, FitConfig
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.training.batches import Negatives, pair_batches
from interlingua.training.labelled import labelled_batches


class LikesConfig(Config):
    """Options of ``likes``."""

    embedding_dim: int = Field(default=16, ge=1)
    """D"""
    labels: bool = False
    """learn from labelled events, liked or not, instead of liked ones and random negatives"""
    fit: FitConfig = FitConfig(learning_rate=1e-2, weight_decay=1e-5, batch_size=256, epochs=40)
    """training"""


class Likes(Backbone):
    """Dot products, and what an item is liked by everybody."""

    Config = LikesConfig
    config: LikesConfig
    sampling = "pairs"

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Labels, where it is to learn from them."""
        return super().needs(config) | ({"labels"} if config.labels else set())

    def __init__(self, config: LikesConfig, train: Interactions) -> None:
        super().__init__(config, train)
        self.users = nn.Parameter(torch.empty(train.num_users, config.embedding_dim).normal_(std=0.1))
        self.items = nn.Parameter(torch.empty(train.num_items, config.embedding_dim).normal_(std=0.1))
        self.bias = nn.Parameter(torch.zeros(train.num_items))

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Labelled events once an epoch, or liked ones with a negative each."""
        if self.config.labels:
            return lambda epoch, generator: labelled_batches(train, fit, generator)
        source = Negatives(train)
        return lambda epoch, generator: pair_batches(train, fit, generator, negatives=source)

    def input_embeddings(self) -> Embeddings:
        """The two tables."""
        return Embeddings(self.users, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """The batch's users."""
        assert inputs.users is not None
        return Encoded(inputs, functional.embedding(batch.users, inputs.users))

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of liked or not."""
        scores = self._scores(encoded, batch.positives)
        if batch.labels is not None:
            return {"liked": functional.binary_cross_entropy_with_logits(scores, batch.labels)}
        assert batch.negatives is not None
        others = self._scores(encoded, batch.negatives.reshape(len(batch), -1)[:, 0])
        return {"liked": functional.softplus(-scores).mean() + functional.softplus(others).mean()}

    def _scores(self, encoded: Encoded, items: Tensor) -> Tensor:
        """(B,)"""
        return (encoded.query * functional.embedding(items, encoded.tables.items)).sum(-1) + self.bias[items]

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """Trained vectors of known users; the mean of the history's items for others."""
        who = torch.as_tensor(queries.users, device=self.users.device)
        out = self.users.detach()[who.clamp(min=0)].clone()
        for row in torch.nonzero(who < 0)[:, 0].tolist():
            history = torch.as_tensor(np.asarray(queries.history(row), np.int64), device=out.device)
            out[row] = self.items.detach()[history].mean(0) if len(history) else 0.0
        return out

    def item_embeddings(self) -> Tensor:
        """(I, D)"""
        return self.items.detach()

    def item_bias(self) -> Tensor:
        """(I,) what everybody likes."""
        return self.bias.detach()
