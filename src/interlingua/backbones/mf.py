"""Matrix factorisation trained by Bayesian personalised ranking (Rendle et al. 2009): a vector per user and item.

**Deviations:** users unseen in training are folded in by one weighted ridge regression on the item vectors (the user
step of Hu, Koren & Volinsky 2008), which the paper does not treat.
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
from interlingua.contracts.added import AddedItems
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.nn import losses
from interlingua.nn.histories import fold_in
from interlingua.training.batches import Negatives, pair_batches


class MfConfig(Config):
    """Options of :class:`Mf`."""

    embedding_dim: int = Field(default=64, ge=1)
    """D"""
    item_bias: bool = True
    """a learned popularity per item"""
    num_negatives: int = Field(default=1, ge=1)
    """per event"""
    fold_in_weight: float = Field(default=0.01, ge=0)
    """unseen users: weight of an absent item against 1 for a present one"""
    fold_in_l2: float = Field(default=0.1, ge=0)
    """unseen users: ridge weight"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, weight_decay=1e-5, batch_size=1024, epochs=200, patience=10)
    """training"""


class Mf(Backbone):
    """Dot products of user and item vectors, plus an item bias."""

    Config = MfConfig
    sampling = "pairs"

    def __init__(self, config: MfConfig, train: Interactions) -> None:
        super().__init__(config, train)
        self.users = nn.Parameter(torch.empty(train.num_users, config.embedding_dim).normal_(std=0.1))
        self.learned = train.num_items
        self.items = nn.Parameter(torch.empty(train.num_items, config.embedding_dim).normal_(std=0.1))
        self.bias = nn.Parameter(torch.zeros(train.num_items)) if config.item_bias else None

    @classmethod
    def reads_all_items(cls, config: Any) -> bool:
        """Only those of the batch."""
        return False

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Every event once an epoch, with uniform negatives."""
        source = Negatives(train)

        def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
            return pair_batches(train, fit, generator, negatives=source, num_negatives=self.config.num_negatives)

        return make

    def extended(self, added: AddedItems) -> Mf | None:
        """An item without an event is its input, of mean popularity."""
        other = self.with_inputs(added)
        if other is not None and self.bias is not None:
            own = self.bias.detach()
            other = other.longer(AddedItems(0, added.job), bias=torch.cat([own, own.mean().expand(added.count)]))
        return other

    def input_embeddings(self) -> Embeddings:
        """The embeddings."""
        return Embeddings(self.users, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """The tables themselves."""
        assert inputs.users is not None
        return Encoded(inputs, functional.embedding(batch.users, inputs.users))

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """BPR over the batch's pairs."""
        assert batch.negatives is not None
        negatives = batch.negatives.reshape(len(batch), -1)
        positive = (encoded.query * functional.embedding(batch.positives, encoded.tables.items)).sum(-1)
        negative = torch.einsum("bd,bkd->bk", encoded.query, functional.embedding(negatives, encoded.tables.items))
        if self.bias is not None:
            positive, negative = positive + self.bias[batch.positives], negative + self.bias[negatives]
        return {"bpr": losses.bpr(positive, negative)}

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """Trained vectors of known users, folded-in ones of unknown users."""
        who = torch.as_tensor(queries.users, device=self.users.device)
        out = self.users.detach()[who.clamp(min=0)].clone()
        unknown = np.flatnonzero(np.asarray(queries.users) < 0)
        if len(unknown):
            history = queries.take(unknown)
            indices = torch.from_numpy(unknown).to(out.device)
            options = self.config.fold_in_weight, self.config.fold_in_l2, self.learned
            out[indices] = fold_in(self.items.detach(), history, *options)
        return out

    def item_embeddings(self) -> Tensor:
        """The item embeddings."""
        return self.items.detach()

    def item_bias(self) -> Tensor | None:
        """The learned popularity."""
        return None if self.bias is None else self.bias.detach()
