"""A small sequence model inside a ranker, trained along with it: a SASRec whose user state others may read.

Kang & McAuley 2018, with pre-normalised blocks: the same as ``backbones/sasrec.py`` with its default options. Here it
is no backbone: its gradient comes from its own loss and from whoever reads it.

Shape key: B rows, L history, I items, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.data.queries import PAD
from interlingua.errors import ConfigError
from interlingua.nn.causal_attention import Block


class JointSequence(nn.Module):
    """Causal self-attention over item embeddings, which are also the output table.

    Args:
        num_items: I; an item of a history with a larger index is passed over: it came after training.
        dim: D.
        length: events of a history that are read, the last ones.
        blocks: number of transformer blocks.
        heads: of attention.
        dropout: on embeddings, attention and feed-forward.
    """

    def __init__(self, num_items: int, dim: int, length: int, blocks: int, heads: int, dropout: float) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(f"cf_dim = {dim} is not divisible by cf_heads = {heads}; change one of them")
        self.items = nn.Parameter(torch.empty(num_items, dim))
        self.positions = nn.Parameter(torch.empty(length, dim))
        self.blocks = nn.ModuleList(Block(dim, heads, dropout, "pre") for _ in range(blocks))
        self.norm = nn.LayerNorm(dim, eps=1e-8)
        self.dropout = dropout
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def _to_front(self, histories: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L) the last known items of each row, first event first, PAD behind; (B,) how many."""
        known = torch.where(histories < len(self.items), histories, PAD)
        order = torch.argsort((known == PAD).long(), dim=1, stable=True)
        known, lengths = known.gather(1, order), (known != PAD).sum(1)
        surplus = (lengths - len(self.positions)).clamp_min(0)  # longer ones lose their first events
        columns = torch.arange(known.shape[1], device=known.device)[None, :] + surplus[:, None]
        inside = columns < lengths[:, None]
        known = torch.where(inside, known.gather(1, columns.clamp_max(known.shape[1] - 1)), PAD)
        return known[:, : len(self.positions)], lengths - surplus

    def states(self, histories: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States of every event of (B, L) histories padded with PAD anywhere.

        Returns:
            (B, L', D) states, a row's first event at column 0; (B, L') the items, PAD behind them; (B,) lengths.
        """
        items, lengths = self._to_front(histories)
        real = items != PAD
        most, width = len(self.positions), items.shape[1]
        place = most - lengths[:, None] + torch.arange(width, device=items.device)  # the last event has the last place
        x = functional.embedding(items.clamp_min(0), self.items) * math.sqrt(self.items.shape[1])
        x = x + functional.embedding(place.clamp(0, most - 1), self.positions)
        x = functional.dropout(x, self.dropout, self.training) * real[..., None]
        for block in self.blocks:
            x = block(x)
        return self.norm(x), items, lengths

    def users(self, states: Tensor, lengths: Tensor) -> Tensor:
        """(B, D) the state of each row's last event, zero for an empty row."""
        if not states.shape[1]:
            return states.new_zeros(len(states), self.items.shape[1])
        last = states[torch.arange(len(states), device=states.device), (lengths - 1).clamp_min(0)]
        return last * (lengths > 0)[:, None]

    def loss(self, states: Tensor, items: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
        """() mean cross-entropy over all items of what followed each event of a batch.

        Args:
            states: (B, L', D) of :meth:`states`.
            items: (B, L') of :meth:`states`.
            lengths: (B,) of :meth:`states`.
            targets: (B,) what followed each row's last event.
        """
        following = torch.cat([items[:, 1:], items.new_full((len(items), 1), PAD)], 1)
        indices = torch.arange(len(items), device=items.device)
        following[indices[lengths > 0], lengths[lengths > 0] - 1] = targets[lengths > 0]
        real = following != PAD
        if not bool(real.any()):
            return states.sum() * 0.0
        return functional.cross_entropy(states[real] @ self.items.T, following[real])
