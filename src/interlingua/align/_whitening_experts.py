"""UniSRec's adaptor of text vectors: a gated sum of linear maps that may whiten (Hou et al., KDD 2022).

"Towards Universal Sequence Representation Learning for Recommender Systems", arXiv 2206.05941, section 2.2:
``sum_e g_e (x - b_e) W_e`` with ``g = softmax(x Wg + noise * softplus(x Wn))``; the noise is Gaussian, in training.

Shape key: n rows, T text width, D backbone width, E experts.

**Deviation:** ``b_e W_e`` is learned as one bias, which gives the same maps; one mask of dropout serves all experts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAST_NOISE = 0.01
"""added to the learned deviation of the gates' noise (the authors' code)"""


class WhiteningExperts(nn.Module):
    """Text vectors (n, T) -> (n, D)."""

    def __init__(self, text_dim: int, backbone_dim: int, experts: int, dropout: float) -> None:
        super().__init__()
        self.experts, self.dropout = experts, dropout
        self.maps = nn.Linear(text_dim, experts * backbone_dim)
        self.gates = nn.Linear(text_dim, experts, bias=False)
        self.noise = nn.Linear(text_dim, experts, bias=False)
        nn.init.normal_(self.maps.weight, std=0.02)
        nn.init.zeros_(self.maps.bias)
        nn.init.zeros_(self.gates.weight)
        nn.init.zeros_(self.noise.weight)

    def forward(self, texts: Tensor) -> Tensor:
        """(n, D) the experts' maps, summed by the softmax of their gates."""
        gates = self.gates(texts)
        if self.training:
            gates = gates + torch.randn_like(gates) * (functional.softplus(self.noise(texts)) + LEAST_NOISE)
        read = functional.dropout(texts, self.dropout, self.training)
        mapped = self.maps(read).unflatten(-1, (self.experts, -1))  # (n, E, D)
        return torch.einsum("ne,ned->nd", gates.softmax(-1), mapped)
