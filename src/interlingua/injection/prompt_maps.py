"""ID vectors as prompts of every layer: a map for each layer, with learned context in front.

RA-Rec (arXiv 2402.04527v2, section 3.3), for users and items alike: ``p^(l) = W^(l) v + b^(l)`` and
``d^(l) = [c^(l) ; p^(l)]``. The paper counts some 18,000 trained parameters, which one full matrix per layer exceeds
many times over; how it shares or factors them is not known, so ``kind`` offers the choices.

Shape key: B rows, D width of the ID vectors, N prompted layers, H width of a layer, C context vectors, R rank.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["full", "shared", "low-rank", "diagonal", "none"]


class PromptMaps(nn.Module):
    """(B, D) vectors -> (B, N, C + 1, H) prompts; with ``none`` (B, N, C, H), the context alone.

    Args:
        dim: D.
        scales: (N,) typical size of an entry of what each layer reads; prompts start at that size.
        width: H.
        context: C.
        kind: ``full``: one matrix per layer; ``shared``: one matrix and bias for all layers; ``low-rank``: two factors
            of rank ``rank`` per layer; ``diagonal``: entry j of a layer's prompt is entry ``j mod D`` of the vector
            times one weight; ``none``: no ID vector (prefix tuning: the paper's ablation).
        rank: R.
    """

    def __init__(self, dim: int, scales: Tensor, width: int, context: int, kind: Kind = "full", rank: int = 8) -> None:
        super().__init__()
        self.kind, self.dim, self.width, self.layers = kind, dim, width, len(scales)
        start = torch.randn(self.layers, context, width) * scales[:, None, None]
        self.context = nn.Parameter(start, requires_grad=context > 0)
        self.bias: nn.Parameter | None = None
        if kind == "none":
            return
        count = 1 if kind == "shared" else self.layers
        size = scales.mean().reshape(1, 1, 1) if kind == "shared" else scales[:, None, None]
        self.bias = nn.Parameter(torch.zeros(count, width))
        if kind == "diagonal":
            self.weight = nn.Parameter(torch.randn(count, width).sign() * size[:, 0])
        elif kind == "low-rank":
            self.down = nn.Parameter(torch.randn(count, rank, dim) / math.sqrt(dim))
            self.up = nn.Parameter(torch.randn(count, width, rank) / math.sqrt(rank) * size)
        else:
            self.weight = nn.Parameter(torch.randn(count, width, dim) / math.sqrt(dim) * size)

    @property
    def length(self) -> int:
        """Vectors of one prompt."""
        return int(self.context.shape[1]) + (self.kind != "none")

    def mapped(self, vectors: Tensor) -> Tensor:
        """(B, D) -> (B, N, H): ``p`` of every layer."""
        assert self.bias is not None
        if self.kind == "diagonal":
            tiled = vectors[:, torch.arange(self.width, device=vectors.device) % self.dim]
            out = tiled[:, None] * self.weight
        elif self.kind == "low-rank":
            out = torch.einsum("nhr,nrd,bd->bnh", self.up, self.down, vectors)
        else:
            out = torch.einsum("nhd,bd->bnh", self.weight, vectors)
        return (out + self.bias).expand(-1, self.layers, -1)

    def forward(self, vectors: Tensor) -> Tensor:
        """``d`` of every layer (see the class)."""
        context = self.context.expand(len(vectors), -1, -1, -1)
        if self.kind == "none":
            return context
        return torch.cat([context, self.mapped(vectors)[:, :, None]], 2)
