"""Blocks of causal self-attention over histories: SASRec's, and the gated one of LiGR.

Shape key: B rows, L positions, D width.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


class CausalAttention(nn.Module):
    """Attention in which a position reads itself and what came before; a block adds its feed-forward part."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm = nn.LayerNorm(dim, eps=1e-8)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def attended(self, asking: Tensor, x: Tensor, at: Tensor | None) -> Tensor:
        """(B, L, D) mixtures of ``x`` for every position; with ``at`` (B,), for the one in ``asking`` (B, 1, D)."""
        return self._attend(asking, x) if at is None else self._attend_once(asking, x, at)

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
        ahead = torch.arange(width, device=at.device)[None, :] > at[:, None]
        weights = logits.masked_fill(ahead[:, None], -math.inf).softmax(-1)
        mixed = torch.einsum("bhd,hsd->bhs", weights @ x, to_value).reshape(batch, 1, dim)
        return self.out(mixed + self.key_value.bias[dim:])


class Block(CausalAttention):
    """SASRec's: attention and a position-wise feed-forward part of the same width.

    ``norm``: ``pre`` or ``authors``, see :mod:`interlingua.backbones.sasrec`.
    """

    def __init__(self, dim: int, heads: int, dropout: float, norm: Literal["pre", "authors"]) -> None:
        super().__init__(dim, heads, dropout)
        self.norm = norm
        self.forward_norm = nn.LayerNorm(dim, eps=1e-8)
        self.inner = nn.Linear(dim, dim)
        self.outer = nn.Linear(dim, dim)

    def forward(self, x: Tensor, at: Tensor | None = None) -> Tensor:
        """(B, L, D) -> (B, L, D); position l reads up to l. With ``at`` (B,): that position's state (B, 1, D)."""
        normed = self.attention_norm(x)
        asking, states = at_position(normed, at), at_position(x, at)
        if self.norm == "pre":
            states = states + self.attended(asking, normed, at)
            return states + self._feed(self.forward_norm(states))
        states = self.forward_norm(asking + self.attended(asking, x, at))
        return states + self._feed(states)

    def _feed(self, x: Tensor) -> Tensor:
        hidden = functional.dropout(functional.relu(self.inner(x)), self.dropout, self.training)
        return functional.dropout(self.outer(hidden), self.dropout, self.training)


class LigrBlock(CausalAttention):
    """LiGR's: ``y = x + sigmoid(G x) * attention(LN(x))``, then the same with a SwiGLU feed-forward part.

    Borisyuk et al. 2025, "From Features to Transformers: Redefining Ranking for Scalable Impact", arXiv 2502.03417, as
    eSASRec has it (Tikhonovich et al., RecSys 2025, arXiv 2508.06450): each part's gate reads the part's own input,
    before the norm. SwiGLU (Shazeer 2020): ``W2 (silu(W1 x) * W3 x)``, without biases.
    """

    def __init__(self, dim: int, heads: int, dropout: float, inner_factor: int) -> None:
        super().__init__(dim, heads, dropout)
        self.forward_norm = nn.LayerNorm(dim)
        self.inner = nn.Linear(dim, 2 * inner_factor * dim, bias=False)
        self.outer = nn.Linear(inner_factor * dim, dim, bias=False)
        self.attention_gate = nn.Linear(dim, dim)
        self.forward_gate = nn.Linear(dim, dim)

    def forward(self, x: Tensor, at: Tensor | None = None) -> Tensor:
        """(B, L, D) -> (B, L, D); position l reads up to l. With ``at`` (B,): that position's state (B, 1, D)."""
        normed, states = self.attention_norm(x), at_position(x, at)
        mixed = self._dropped(self.attended(at_position(normed, at), normed, at))
        states = states + torch.sigmoid(self.attention_gate(states)) * mixed
        gate, value = self.inner(self.forward_norm(states)).chunk(2, dim=-1)
        fed = self._dropped(self.outer(self._dropped(functional.silu(gate) * value)))
        return states + torch.sigmoid(self.forward_gate(states)) * fed

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)


def at_position(x: Tensor, at: Tensor | None) -> Tensor:
    """(B, 1, D) the position ``at`` (B,) of each row of ``x`` (B, L, D); None: all of them, (B, L, D)."""
    return x if at is None else x[torch.arange(len(x), device=x.device), at][:, None]
