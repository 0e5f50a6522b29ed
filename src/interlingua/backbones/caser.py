"""Caser: convolutions over a window of the last events, seen as a picture of events and dimensions (Tang & Wang 2018).

"Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding", WSDM 2018, arXiv 1809.07426, and
the authors' PyTorch code: vertical filters are weighted sums of the window's rows (eq. 7), horizontal ones of every
height slide over them and keep their largest value (eq. 4-6); both go through one layer (eq. 9), beside a user vector
(eq. 10), to the scores of a window's next T items (eq. 12).

Shape key: B rows, L events of a window, T targets, D width, V and H vertical and horizontal filters, I items, Q width
of what scores: D, or 2D with a user vector beside.

**Deviations:**
- No user vector unless ``user_table`` is set, so that any history is answered alike (LLaRA's Caser has none either).
  With it, users unseen in training get the mean of all trained ones.
- A window of a user with fewer than L + T events reads at least one, and has fewer targets; the authors fill it up with
  padding and may read nothing else.
- The loss is computed from logits; ``loss = "ce"``, a softmax over all items for every target, is not in the paper.

As in the authors' code, what lies before a short history is the zero vector, which horizontal filters slide over too:
a window is always L wide, whatever padding a row comes with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.backbones._shifted import by_length
from interlingua.config import Config, FitConfig
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError
from interlingua.nn import losses
from interlingua.training.batches import Negatives
from interlingua.training.target_windows import target_batches


class CaserConfig(Config):
    """Options of :class:`Caser`."""

    only_with: ClassVar = {"num_negatives": ("loss", ("bce",))}

    embedding_dim: int = Field(64, ge=1)
    """D (authors: 50)"""
    max_history: int = Field(5, ge=1)
    """L, events of a window (authors: 5)"""
    num_targets: int = Field(3, ge=1)
    """T, events after a window that it is to score (authors: 3)"""
    vertical_filters: int = Field(4, ge=0)
    """V (authors: 4); 0: none"""
    horizontal_filters: int = Field(16, ge=0)
    """H of every height from 1 to L (authors: 16); 0: none"""
    user_table: bool = False
    """a vector of each user beside the window's (authors: yes)"""
    dropout: float = Field(0.5, ge=0, lt=1)
    """between the filters and the layer above them (authors: 0.5)"""
    loss: Literal["bce", "ce"] = "bce"
    """``bce``: targets against drawn items (authors); ``ce``: softmax over all items"""
    num_negatives: int = Field(3, ge=1)
    """``bce``: per window (authors: 3)"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, weight_decay=1e-6, batch_size=512, epochs=50, patience=5)
    """training (authors: Adam, 1e-3, L2 1e-6, 512, 50 epochs)"""


class Caser(Backbone):
    """A window's filters, and a user's vector where there is one, against rows of an output table, plus a bias."""

    Config = CaserConfig
    sampling = "sequences"

    def __init__(self, config: CaserConfig, train: Interactions) -> None:
        super().__init__(config, train)
        if not config.vertical_filters + config.horizontal_filters:
            raise ConfigError("backbone: vertical_filters and horizontal_filters are both 0; give it one of them")
        dim, length = config.embedding_dim, config.max_history
        self.items = nn.Parameter(torch.empty(train.num_items, dim).normal_(std=1 / dim))
        self.users = nn.Parameter(torch.empty(train.num_users, dim).normal_(std=1 / dim)) if config.user_table else None
        self.vertical = nn.Linear(length, config.vertical_filters, bias=False) if config.vertical_filters else None
        heights = range(1, length + 1) if config.horizontal_filters else ()
        self.horizontal = nn.ModuleList(nn.Conv1d(dim, config.horizontal_filters, height) for height in heights)
        self.above = nn.Linear(config.vertical_filters * dim + config.horizontal_filters * length, dim)
        wide = dim * (1 + config.user_table)
        self.outputs = nn.Parameter(torch.empty(train.num_items, wide).normal_(std=1 / wide))
        self.bias = nn.Parameter(torch.zeros(train.num_items))
        self.register_buffer("trained_users", torch.as_tensor(train.user_counts > 0), persistent=False)

    trained_users: Tensor
    """(U,) bool"""

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """One trained row per user where the options ask for it."""
        return super().makes(config) | ({"user_table"} if config.user_table else set())

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Windows of all users with the events that follow them."""
        config = self.config
        source = Negatives(train) if config.loss == "bce" else None

        def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
            return target_batches(
                train, config.max_history, config.num_targets, fit.batch_size, generator,
                negatives=source, num_negatives=config.num_negatives,
            )  # fmt: skip

        return make

    def input_embeddings(self) -> Embeddings:
        """What the filters read, and the users' vectors where there are any."""
        return Embeddings(self.users, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """What scores the batch's rows (B, Q), and the output rows."""
        if batch.histories is None:
            raise ConfigError("caser needs batches with histories: use target_batches or last_position_batches")
        query = self.windows(inputs.items, batch.histories)
        if inputs.users is not None:
            query = torch.cat([query, functional.embedding(batch.users, inputs.users)], dim=1)
        return Encoded(Embeddings(None, self.outputs), query)

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """The configured loss over all targets of the batch's windows."""
        table, targets = encoded.tables.items, batch.positives.reshape(len(batch), -1)
        real = targets != PAD
        if self.config.loss == "ce":
            states = encoded.query[:, None].expand(-1, targets.shape[1], -1)[real]
            return {"ce": losses.full_softmax(states, table, targets[real], self.bias)}
        if batch.negatives is None:
            raise ConfigError("caser with loss 'bce' needs negatives in its batches")
        negatives = batch.negatives.reshape(len(batch), -1)
        scores = self._pairs(encoded.query, table, torch.cat([targets.clamp_min(0), negatives], dim=1))
        width = targets.shape[1]
        return {"bce": losses.bce(scores[:, :width][real], scores[:, width:].flatten())}

    def _pairs(self, query: Tensor, table: Tensor, indices: Tensor) -> Tensor:
        """(B, n) scores of rows (B, Q) and items (B, n)."""
        return torch.einsum("bq,bnq->bn", query, functional.embedding(indices, table)) + self.bias[indices]

    def windows(self, table: Tensor, histories: Tensor) -> Tensor:
        """(B, D) vectors of the last L events.

        Args:
            table: (I, D) item inputs.
            histories: (B, n) left-padded rows of any width.
        """
        length = self.config.max_history
        padded = functional.pad(histories[:, -length:], (max(length - histories.shape[1], 0), 0), value=PAD)
        x = functional.embedding(padded.clamp_min(0), table) * (padded != PAD)[..., None]
        x = x.transpose(1, 2)  # (B, D, L)
        parts = [functional.relu(conv(x)).amax(2) for conv in self.horizontal]
        if self.vertical is not None:
            parts.insert(0, self.vertical(x).flatten(1))
        filtered = functional.dropout(torch.cat(parts, dim=1), self.config.dropout, self.training)
        return functional.relu(self.above(filtered))

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, Q) what scores any histories; users unseen in training have the mean of the trained ones beside."""
        self.at_rest()
        out = self.items.new_empty(len(queries), self.items.shape[1])
        out = by_length(queries, self.config.max_history, out, lambda histories: self.windows(self.items, histories))
        if self.users is None:
            return out
        who = torch.as_tensor(np.asarray(queries.users, np.int64), device=out.device)
        own = torch.where((who < 0)[:, None], self._mean_user(self.users), self.users[who.clamp_min(0)])
        return torch.cat([out, own], dim=1)

    def _mean_user(self, users: Tensor) -> Tensor:
        """(1, D) the mean of the trained users' vectors (U, D)."""
        trained = users[self.trained_users]
        return (trained if len(trained) else users).mean(0, keepdim=True)

    def given_away(self) -> dict[str, Tensor]:
        """The mean of the users' vectors in place of them: what is beside the window of anybody unknown."""
        users = {} if self.users is None else {"users": self._mean_user(self.users.detach())}
        return super().given_away() | users

    def item_embeddings(self) -> Tensor:
        """(I, Q) output rows: their product with :meth:`user_embeddings`, plus :meth:`item_bias`, is the score."""
        return self.outputs.detach()

    def item_bias(self) -> Tensor:
        """(I,) the learned popularity."""
        return self.bias.detach()
