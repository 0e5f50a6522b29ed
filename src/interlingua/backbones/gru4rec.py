"""GRU4Rec: a gated recurrent network over the history whose state scores the next item (Hidasi et al. 2016).

"Session-based Recommendations with Recurrent Neural Networks", arXiv 1511.06939; losses BPR-max and TOP1-max of
Hidasi & Karatzoglou, "Recurrent Neural Networks with Top-k Gains", arXiv 1706.03847; cross-entropy over all or sampled
items.

Shape key: B rows, L positions, D width, H recurrent width, I items, N negatives, n positions with a target.

**Deviations:**
- A row is a stretch of a user's whole history with a target at every position; the papers run sessions side by side and
  carry the state from batch to batch.
- Negatives are uniform over the items that the user does not have; the papers take the batch's other targets and
  samples by popularity.
- A linear map with bias joins the state and the item table, even if both have the same width, so that the width of
  the recurrent layer is free; the papers score items with the state itself.
- One item table for input and output (the second paper's "constrained embeddings"), Adam in place of Adagrad.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.backbones._shifted import by_length, last_of, shift
from interlingua.config import Config, FitConfig
from interlingua.contracts.added import AddedItems
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.nn import losses
from interlingua.training.next_item import next_item_batches, pair_scores, with_targets


class Gru4RecConfig(Config):
    """Options of :class:`Gru4Rec`."""

    embedding_dim: int = Field(64, ge=1)
    """D"""
    hidden_dim: int | None = Field(None, ge=1)
    """H (papers: 100); None: as wide as the embeddings"""
    num_layers: int = Field(1, ge=1)
    """recurrent layers (papers: 1)"""
    max_history: int = Field(50, ge=1)
    """L"""
    dropout: float = Field(0.2, ge=0, lt=1)
    """on item inputs and on the states that score"""
    loss: Literal["ce", "sampled-ce", "bce", "bpr-max", "top1-max"] = "ce"
    """``ce``: softmax over all items; the others compare with ``num_negatives`` sampled ones"""
    num_negatives: int = Field(32, ge=1)
    """per position, for all losses but ``ce``"""
    bpr_penalty: float = Field(1.0, ge=0)
    """``bpr-max``: weight of the negatives' squared scores"""
    long_histories: Literal["last", "windows"] = "windows"
    """histories longer than ``max_history``: train their last part, or all of it in stretches"""
    batch_by: Literal["sequences", "events"] = "sequences"
    """the unit of which all batches hold equally many, see :func:`interlingua.training.batches.sequence_batches`"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=32, epochs=100, patience=5)
    """training"""


class Gru4Rec(Backbone):
    """A GRU over item embeddings, which are also the output table."""

    Config = Gru4RecConfig
    sampling = "sequences"

    def __init__(self, config: Gru4RecConfig, train: Interactions) -> None:
        super().__init__(config, train)
        dim, hidden = config.embedding_dim, config.hidden_dim or config.embedding_dim
        self.items = nn.Parameter(torch.empty(train.num_items, dim).normal_(std=dim**-0.5))
        self.gru = nn.GRU(dim, hidden, config.num_layers, batch_first=True)
        self.out = nn.Linear(hidden, dim)

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Rows of all users with a target at every position."""
        return next_item_batches(train, self.config, fit)

    def extended(self, added: AddedItems) -> Gru4Rec | None:
        """An item without an event is its input, in histories too."""
        return self.with_inputs(added)

    def input_embeddings(self) -> Embeddings:
        """The item embeddings; there is no user table."""
        return Embeddings(None, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """Last states of the batch's histories; all states in ``private``, as (states (B, L, D), lengths (B,))."""
        if batch.histories is None:
            raise ConfigError("gru4rec needs batches with histories: use sequence_batches or last_position_batches")
        states, lengths = self.states(inputs.items, batch.histories)
        return Encoded(inputs, last_of(states, lengths), (states, lengths))

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """The configured loss over all positions with a target, or over the last one for (B,) positives."""
        states, lengths = encoded.private
        table = encoded.tables.items
        real = torch.arange(states.shape[1], device=states.device)[None, :] < lengths[:, None]
        flat, targets, negatives = with_targets(encoded, batch, real)
        loss = self.config.loss
        if loss == "ce":
            return {"ce": losses.full_softmax(flat, table, targets)}
        if negatives is None:
            raise ConfigError(f"gru4rec with loss {loss!r} needs negatives in its batches")
        positive, negative = pair_scores(flat, table, targets, negatives)
        if loss == "bce":
            return {"bce": losses.bce(positive, negative)}
        if loss == "sampled-ce":
            return {"sampled_ce": losses.sampled_softmax(positive, negative, self.num_items)}
        if loss == "bpr-max":
            return {"bpr_max": bpr_max(positive, negative, self.config.bpr_penalty)}
        return {"top1_max": top1_max(positive, negative)}

    def states(self, table: Tensor, histories: Tensor) -> tuple[Tensor, Tensor]:
        """States of every position, shifted so that a row's first event is at column 0.

        Args:
            table: (I, D) item inputs.
            histories: (B, L) left-padded rows; only their last ``max_history`` events are read.

        Returns:
            states (B, L, D) and lengths (B,); columns from a row's length on have no meaning.
        """
        shifted = shift(histories, self.config.max_history)
        x = functional.dropout(functional.embedding(shifted.indices, table), self.config.dropout, self.training)
        states, _ = self.gru(x * shifted.real[..., None])
        return self.out(functional.dropout(states, self.config.dropout, self.training)), shifted.lengths

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, D) last states; histories of similar length are read together."""
        self.eval()
        out = self.items.new_empty(len(queries), self.items.shape[1])

        def read(histories: Tensor) -> Tensor:
            return last_of(*self.states(self.items, histories))

        return by_length(queries, self.config.max_history, out, read)

    def item_embeddings(self) -> Tensor:
        """(I, D) item embeddings."""
        return self.items.detach()


def bpr_max(positive: Tensor, negative: Tensor, penalty: float) -> Tensor:
    """``-log sum_j s_j sigmoid(r - r_j) + penalty * sum_j s_j r_j^2``, s the softmax of the negatives' scores.

    Args:
        positive: (n,) scores r of observed items.
        negative: (n, N) scores r_j of sampled items.
        penalty: weight of the second term.
    """
    log_weights = torch.log_softmax(negative, dim=-1)
    better = torch.logsumexp(log_weights + functional.logsigmoid(positive[:, None] - negative), dim=-1)
    return (penalty * (log_weights.exp() * negative.square()).sum(-1) - better).mean()


def top1_max(positive: Tensor, negative: Tensor) -> Tensor:
    """``sum_j s_j (sigmoid(r_j - r) + sigmoid(r_j^2))``, s as in :func:`bpr_max`."""
    weights = torch.softmax(negative, dim=-1)
    terms = torch.sigmoid(negative - positive[:, None]) + torch.sigmoid(negative.square())
    return (weights * terms).sum(-1).mean()
