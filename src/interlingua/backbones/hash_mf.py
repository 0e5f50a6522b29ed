"""Matrix factorisation whose users and items are bits: the backbone of BinLLM.

Zhang et al., "Text-like Encoding of Collaborative Information in Large Language Models for Recommendation", ACL 2024;
the form is that of the authors' code. A vector of a user or an item goes through a linear map of its side, tanh and the
sign, to K numbers of -1 or 1. The score is their dot product, the loss the cross-entropy of liked or not. The sign's
gradient is that of tanh (straight through). While training, every number is hard with probability beta, which rises
from 0 to 1 over the epochs, and soft (tanh) otherwise.

Shape key: B rows, I items, K bits.

**Deviations:**
- Data without labels (``[data] label``) have events and drawn negatives.
- beta rises once an epoch (the authors: by the same step, when is not known); dot products are over sqrt(K).
- Users unseen in training have the signs of a ridge regression on the items' bits.
- The authors' separate hash file gives the user's code for items too: a mistake that is not repeated here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
from interlingua.nn.histories import fold_in
from interlingua.nn.losses import first_is_positive
from interlingua.training.labelled import labelled_or_drawn

FOLD_IN = (0.01, 0.1)
"""weight of an absent item and of the ridge, for unseen users"""


class HashMfConfig(Config):
    """Options of :class:`HashMf`."""

    embedding_dim: int = Field(default=32, ge=1)
    """K, the numbers of a vector and the bits of a code (paper: 32)"""
    num_negatives: int = Field(default=1, ge=1)
    """per event, where the data have no labels"""
    hard_step: float = Field(default=0.02, gt=0, le=1)
    """beta rises by it each epoch (paper: .02)"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=1024, epochs=200, patience=10)
    """training"""


class HashMf(Backbone):
    """Dot products of bits."""

    Config = HashMfConfig
    config: HashMfConfig
    sampling = "pairs"

    def __init__(self, config: HashMfConfig, train: Interactions) -> None:
        super().__init__(config, train)
        width = config.embedding_dim
        self.users = nn.Parameter(torch.empty(train.num_users, width).normal_(std=0.1))
        self.items = nn.Parameter(torch.empty(train.num_items, width).normal_(std=0.1))
        self.user_map, self.item_map = (nn.Linear(width, width) for _ in range(2))
        self.learned = train.num_items
        self.beta = 0.0

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Labelled events once an epoch, or events with negatives."""
        of_epoch = labelled_or_drawn(train, fit, self.config.num_negatives)

        def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
            self.beta = min(1.0, epoch * self.config.hard_step)
            return of_epoch(epoch, generator)

        return make

    def input_embeddings(self) -> Embeddings:
        """The vectors before the maps."""
        return Embeddings(self.users, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """Users and items as K numbers."""
        assert inputs.users is not None
        users, items = self._code(self.user_map(inputs.users)), self._code(self.item_map(inputs.items))
        return Encoded(Embeddings(users, items), functional.embedding(batch.users, users))

    def _code(self, mapped: Tensor) -> Tensor:
        """(N, K) soft and hard numbers while training, hard ones else."""
        soft = torch.tanh(mapped)
        hard = soft + (_signs(soft) - soft).detach()
        if not self.training:
            return hard
        return torch.where(torch.rand_like(soft) < self.beta, hard, soft)

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of liked or not."""
        if batch.labels is not None:
            scores = self._products(encoded, batch.positives[:, None])[:, 0]
            return {"liked": functional.binary_cross_entropy_with_logits(scores, batch.labels)}
        assert batch.negatives is not None
        pairs = torch.cat([batch.positives[:, None], batch.negatives.reshape(len(batch), -1)], 1)
        return {"liked": first_is_positive(self._products(encoded, pairs))}

    def _products(self, encoded: Encoded, items: Tensor) -> Tensor:
        """(B, N) scores of (B, N) items."""
        table = functional.embedding(items, encoded.tables.items)
        return torch.einsum("bk,bnk->bn", encoded.query, table) / self.config.embedding_dim**0.5

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, K) -1 or 1."""
        who = torch.as_tensor(queries.users, device=self.users.device)
        out = _signs(self.user_map(self.users[who.clamp(min=0)]))
        unknown = np.flatnonzero(np.asarray(queries.users) < 0)
        if len(unknown):
            found = fold_in(self.item_embeddings() * self._scale(), queries.take(unknown), *FOLD_IN, self.learned)
            out[torch.from_numpy(unknown).to(out.device)] = _signs(found)
        return out

    def _scale(self) -> float:
        return float(self.config.embedding_dim) ** -0.5

    @torch.no_grad()
    def item_embeddings(self) -> Tensor:
        """(I, K) -1 or 1."""
        return _signs(self.item_map(self.items))


def _signs(vectors: Tensor) -> Tensor:
    """-1 or 1; 0 counts as -1."""
    return torch.where(vectors > 0, 1.0, -1.0).to(vectors)
