"""GC-SAN: the graph network of SR-GNN, then self-attention, weighed with the last item's state (Xu et al. 2019).

"Graph Contextualized Self-Attention Network for Session-based Recommendation", IJCAI 2019. On the node states H of a
session's events, k blocks ``F = softmax(Q K' / sqrt(d)) V`` (eq. 5), ``E = W2 ReLU(W1 F + b1) + b2 + F`` (eq. 6-8);
``S = w E_last + (1 - w) h_last`` (eq. 9) meets the item embeddings. The loss is cross-entropy over all items.

**Deviations:**
- As for ``sr-gnn``: one session per user, rows of similar length, empty histories.
- Every position reads all positions of its session, as in the formulas. There are no positions, no norms, and one head.
- ``dropout`` also applies to the output of a block's two layers (paper: dropout there, rate not given; default none).
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.backbones._session_graph import SessionGraphBackbone, SessionGraphOptions
from interlingua.backbones._shifted import last_state
from interlingua.data.interactions import Interactions


class GcsanConfig(SessionGraphOptions):
    """Options of :class:`Gcsan`."""

    num_blocks: int = Field(1, ge=1)
    """k, blocks of self-attention (paper: 1 to 6, by data)"""
    attention_weight: float = Field(0.6, ge=0, le=1)
    """w, how much of the answer is the attention's (paper: 0.4 to 0.8, by data)"""


class AttentionBlock(nn.Module):
    """One block: attention of all positions to all, and two layers with a residual."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.inner = nn.Linear(dim, dim)
        self.outer = nn.Linear(dim, dim)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """(B, L, D) of ``x`` (B, L, D); positions that are not ``real`` (B, L) are not read."""
        mixed = functional.scaled_dot_product_attention(
            self.query(x), self.key(x), self.value(x), attn_mask=real[:, None, :]
        )
        fed = functional.dropout(self.outer(functional.relu(self.inner(mixed))), self.dropout, self.training)
        return mixed + fed


class Gcsan(SessionGraphBackbone):
    """Self-attention over the graph network's states."""

    Config = GcsanConfig

    def __init__(self, config: GcsanConfig, train: Interactions) -> None:
        super().__init__(config, train)
        self.blocks = nn.ModuleList(
            AttentionBlock(config.embedding_dim, config.dropout) for _ in range(config.num_blocks)
        )

    def read_out(self, states: Tensor, last: Tensor, real: Tensor) -> Tensor:
        """(B, D) ``S`` (see :class:`SessionGraphBackbone`)."""
        lengths = real.sum(1)
        read = real | (lengths == 0)[:, None]  # of an empty history: zero states, so that no mean is of nothing
        for block in self.blocks:
            states = block(states, read)
        weight = self.config.attention_weight
        return weight * last_state(states, lengths) + (1 - weight) * last
