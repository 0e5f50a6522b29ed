"""SASRec: a causal transformer over the history whose last state scores the next item (Kang & McAuley 2018).

Each training row has a target at every position. Losses: binary cross-entropy with sampled negatives (the paper's
eq. 7), cross-entropy over all items, or over sampled items.

Shape key: B rows, L positions, D width, I items, N negatives.

**Deviations:**
- ``norm = "pre"``: x + f(LN(x)) in both sub-layers. ``"authors"``: the PyTorch port that A-LLMRec builds on, where
  the attention's residual is the *normalised* input, ``LN(x) + MHA(LN(x), x, x)``, and likewise for the feed-forward.
- Padding never enters a computation: rows are shifted so that real events come first, and positions are numbered from
  the end, so a row gives the same states whatever its padding.
- No dropout mask or position vector on padding, and no L2 term (the authors' weight for it is 0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.config import Config, FitConfig
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError
from interlingua.nn import losses
from interlingua.training.next_item import next_item_batches, pair_scores, with_targets

QUERY_POSITIONS = 1600
"""of histories encoded at once when scoring, sorted by length: short ones are not padded to the longest, and what is
computed for them stays in the cache"""


class SasRecConfig(Config):
    """Options of :class:`SasRec`."""

    embedding_dim: int = Field(default=64, ge=1)
    """D (A-LLMRec: 50)"""
    max_history: int = Field(default=50, ge=1)
    """L (A-LLMRec: 50)"""
    num_blocks: int = Field(2, ge=1)
    """transformer blocks (paper: 2)"""
    num_heads: int = Field(default=1, ge=1)
    """attention heads (paper: 1)"""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """on embeddings, attention and feed-forward (A-LLMRec: 0.5)"""
    norm: Literal["pre", "authors"] = "pre"
    """where the residual is taken, see the module's deviations"""
    loss: Literal["bce", "ce", "sampled-ce", "shared-ce"] = "ce"
    """``bce`` (paper), ``ce``: softmax over all items, ``sampled-ce``: over ``num_negatives`` sampled ones,
    ``shared-ce``: over the batch's targets and ``num_negatives`` sampled ones that all positions share"""
    num_negatives: int = Field(1, ge=1)
    """per position for ``bce`` and ``sampled-ce``, per batch for ``shared-ce`` (say 1,000)"""
    init: Literal["normal", "xavier"] = "normal"
    """``normal``: N(0, 0.02); ``xavier``: Xavier normal on every matrix, as the A-LLMRec authors"""
    long_histories: Literal["last", "windows"] = "last"
    """histories longer than ``max_history``: train their last part (paper), or all of it in stretches"""
    batch_by: Literal["sequences", "events"] = "sequences"
    """the unit of which all batches hold equally many, see :func:`interlingua.training.batches.sequence_batches`"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=128, epochs=200, patience=10)
    """training"""


class SasRec(Backbone):
    """Causal self-attention over item embeddings, which are also the output table."""

    Config = SasRecConfig
    sampling = "sequences"

    def __init__(self, config: SasRecConfig, train: Interactions) -> None:
        super().__init__(config, train)
        dim = config.embedding_dim
        if dim % config.num_heads:
            raise ConfigError(
                f"backbone.embedding_dim = {dim} is not divisible by num_heads = {config.num_heads}; change one of them"
            )
        self.items = nn.Parameter(torch.empty(train.num_items, dim))
        self.positions = nn.Parameter(torch.empty(config.max_history, dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_blocks))
        self.norm = nn.LayerNorm(dim, eps=1e-8)
        self._initialise()

    def _initialise(self) -> None:
        for parameter in self.parameters():
            if parameter.dim() < 2:
                continue
            if self.config.init == "xavier":
                nn.init.xavier_normal_(parameter)
            else:
                nn.init.normal_(parameter, std=0.02)

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Rows of all users with a target at every position."""
        return next_item_batches(train, self.config, fit)

    def input_embeddings(self) -> Embeddings:
        """The item embeddings; there is no user table."""
        return Embeddings(None, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """Last states of the batch's histories; all states in ``private``, as (states (B, L, D), lengths (B,))."""
        if batch.histories is None:
            raise ConfigError("sasrec needs batches with histories: use sequence_batches or last_position_batches")
        states, lengths = self.states(inputs.items, batch.histories)
        return Encoded(inputs, last_state(states, lengths), (states, lengths))

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """The configured loss over all positions with a target, or over the last one for (B,) positives."""
        states, lengths = encoded.private
        table = encoded.tables.items
        flat, targets, negatives = with_targets(encoded, batch, positions_mask(lengths, states.shape[1]))
        if self.config.loss == "ce":
            return {"ce": losses.full_softmax(flat, table, targets)}
        if self.config.loss == "shared-ce":
            return {"shared_ce": losses.shared_softmax(flat, table, targets, self.config.num_negatives)}
        if negatives is None:
            raise ConfigError(f"sasrec with loss {self.config.loss!r} needs negatives in its batches")
        positive, negative = pair_scores(flat, table, targets, negatives)
        if self.config.loss == "bce":
            return {"bce": losses.bce(positive, negative)}
        return {"sampled_ce": losses.sampled_softmax(positive, negative, self.num_items)}

    def states(self, table: Tensor, histories: Tensor) -> tuple[Tensor, Tensor]:
        """States of every position, shifted so that a row's first event is at column 0.

        Args:
            table: (I, D) item inputs.
            histories: (B, L) left-padded rows; only their last ``max_history`` events are read.

        Returns:
            states (B, L, D) and lengths (B,); columns from a row's length on have no meaning.
        """
        x, lengths = self._inputs(table, histories)
        for block in self.blocks:
            x = block(x)
        return self.norm(x), lengths

    def last_states(self, table: Tensor, histories: Tensor) -> Tensor:
        """(B, D) the states of the last events alone: the last block has one query position instead of L."""
        x, lengths = self._inputs(table, histories)
        for block in self.blocks[:-1]:
            x = block(x)
        return self.norm(self.blocks[-1](x, (lengths - 1).clamp(min=0)))[:, 0]

    def _inputs(self, table: Tensor, histories: Tensor) -> tuple[Tensor, Tensor]:
        histories = histories[:, -self.config.max_history :]
        width = histories.shape[1]
        lengths = (histories != PAD).sum(1)
        ahead = torch.arange(width, device=histories.device)[None, :] + (width - lengths)[:, None]
        real = ahead < width
        indices = histories.gather(1, ahead.clamp(max=width - 1)).clamp(min=0)
        place = (ahead + self.config.max_history - width).clamp(max=self.config.max_history - 1)
        x = functional.embedding(indices, table) * math.sqrt(table.shape[1]) + functional.embedding(
            place, self.positions
        )
        return functional.dropout(x, self.config.dropout, self.training) * real[..., None], lengths

    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, D) last states; histories of similar length are encoded together."""
        out = self.items.new_empty(len(queries), self.items.shape[1])
        lengths = np.minimum(queries.lengths(), self.config.max_history)
        order = np.argsort(lengths, kind="stable")
        self.eval()
        with torch.no_grad():
            for part in _similar(order, np.maximum(lengths[order], 1)):
                padded = queries.take(part).padded(max(int(lengths[part[-1]]), 1))
                indices = torch.from_numpy(part).to(out.device)
                out[indices] = self.last_states(self.items, torch.from_numpy(padded).to(out.device))
        return out

    def item_embeddings(self) -> Tensor:
        """(I, D) item embeddings."""
        return self.items.detach()


class Block(nn.Module):
    """Causal attention and a position-wise feed-forward part of the same width."""

    def __init__(self, config: SasRecConfig) -> None:
        super().__init__()
        dim = config.embedding_dim
        self.norm, self.heads, self.dropout = config.norm, config.num_heads, config.dropout
        self.attention_norm = nn.LayerNorm(dim, eps=1e-8)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.forward_norm = nn.LayerNorm(dim, eps=1e-8)
        self.inner = nn.Linear(dim, dim)
        self.outer = nn.Linear(dim, dim)

    def forward(self, x: Tensor, at: Tensor | None = None) -> Tensor:
        """(B, L, D) -> (B, L, D); position l reads up to l. With ``at`` (B,): that position's state (B, 1, D)."""
        normed = self.attention_norm(x)
        asking, states, attend = normed, x, self._attend
        if at is not None:
            indices = torch.arange(len(x), device=x.device)
            asking, states = normed[indices, at][:, None], x[indices, at][:, None]
            attend = partial(self._attend_once, at=at)
        if self.norm == "pre":
            states = states + attend(asking, normed)
            return states + self._feed(self.forward_norm(states))
        states = self.forward_norm(asking + attend(asking, x))
        return states + self._feed(states)

    def _attend(self, asking: Tensor, x: Tensor) -> Tensor:
        if self.heads == 1 and not self.training and not torch.is_grad_enabled():
            return self._attend_folded(asking, x)
        batch, _, dim = x.shape
        shape = (batch, -1, self.heads, dim // self.heads)
        query = self.query(asking).view(shape).transpose(1, 2)
        key, value = (part.view(shape).transpose(1, 2) for part in self.key_value(x).chunk(2, dim=-1))
        drop = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=drop, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, -1, dim))

    def _attend_folded(self, asking: Tensor, x: Tensor) -> Tensor:
        """:meth:`_attend` for one head without dropout, with two products instead of four.

        (Q a + q)'(K x + k) is, up to what is the same for all x, (K'Q a + K'q)'x; and O of a mean of (V x + v) is the
        mean of (OV x + Ov).
        """
        to_key, to_value = self.key_value.weight.chunk(2)
        query = functional.linear(asking, to_key.T @ self.query.weight, self.query.bias @ to_key)
        bias = torch.addmv(self.out.bias, self.out.weight, self.key_value.bias.chunk(2)[1])
        value = functional.linear(x, self.out.weight @ to_value, bias)
        queries, keys, values = (each[:, None] for each in (query, x, value))  # of three dimensions: PyTorch's slow way
        scale = x.shape[-1] ** -0.5
        return functional.scaled_dot_product_attention(queries, keys, values, is_causal=True, scale=scale)[:, 0]

    def _attend_once(self, asking: Tensor, x: Tensor, at: Tensor) -> Tensor:
        """Attention of one query per row, (B, 1, D), over its positions up to ``at``, without dropout.

        With one query it is cheaper to map the query into the positions' space than L positions into that of
        keys and values: q (W x + b) = (W' q) x + constant, and the mean of W x is W of the mean.
        """
        batch, width, dim = x.shape
        size = dim // self.heads
        query = self.query(asking).view(batch, self.heads, size)
        to_key, to_value = self.key_value.weight.view(2, self.heads, size, dim)
        folded = torch.einsum("bhs,hsd->bhd", query, to_key)
        logits = (folded @ x.transpose(1, 2)) / math.sqrt(size)
        weights = logits.masked_fill(~positions_mask(at + 1, width)[:, None], -math.inf).softmax(-1)
        mixed = torch.einsum("bhd,hsd->bhs", weights @ x, to_value).reshape(batch, 1, dim)
        return self.out(mixed + self.key_value.bias[dim:])

    def _feed(self, x: Tensor) -> Tensor:
        hidden = functional.dropout(functional.relu(self.inner(x)), self.dropout, self.training)
        return functional.dropout(self.outer(hidden), self.dropout, self.training)


def _similar(order: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Parts of ``order`` (ascending lengths) of at most :data:`QUERY_POSITIONS` positions, padding included."""
    start = 0
    while start < len(order):
        filled = np.arange(1, len(order) - start + 1) * lengths[start:]
        stop = start + max(1, int(np.searchsorted(filled, QUERY_POSITIONS, side="right")))
        yield order[start:stop]
        start = stop


def positions_mask(lengths: Tensor, width: int) -> Tensor:
    """(B, L) true in the first ``lengths[b]`` columns."""
    return torch.arange(width, device=lengths.device)[None, :] < lengths[:, None]


def last_state(states: Tensor, lengths: Tensor) -> Tensor:
    """(B, D) the state of each row's last event; of an empty row, the state of its first padding."""
    at = (lengths - 1).clamp(min=0)
    return states[torch.arange(len(states), device=states.device), at]
