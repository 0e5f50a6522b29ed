"""Maps vectors of another space to soft tokens of a language model: two layers, or solved in closed form.

Shape key: N vectors, D their width, H width of the language model's input embeddings.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["mlp", "plain", "linear"]
RIDGE = 1e-2
"""penalty of the closed form, relative to the mean variance of the hidden features"""


class Projector(nn.Module):
    """Linear -> LayerNorm -> activation -> Linear (A-LLMRec, section 3.3: F_U with LeakyReLU, F_I with GELU).

    ``plain`` is the same without LayerNorm (LLaRA), ``linear`` one affine map, for comparison. Weights are
    Xavier-normal, as the authors set them; biases start at 0.

    Args:
        dim: D.
        width: H.
        activation: between the two layers.
        kind: ``mlp`` (the paper's), ``plain`` or ``linear``.
    """

    def __init__(self, dim: int, width: int, activation: nn.Module, kind: Kind = "mlp") -> None:
        super().__init__()
        two = kind != "linear"
        self.first: nn.Module = nn.Linear(dim, width) if two else nn.Identity()
        self.norm: nn.Module = nn.LayerNorm(width) if kind == "mlp" else nn.Identity()
        self.activation: nn.Module = activation if two else nn.Identity()
        self.last = nn.Linear(width if two else dim, width)
        for layer in (self.first, self.last):
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def features(self, vectors: Tensor) -> Tensor:
        """(..., D) -> inputs of the last layer."""
        return self.activation(self.norm(self.first(vectors)))

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., D) -> (..., H)."""
        return self.last(self.features(vectors))

    @torch.no_grad()
    def scale_to(self, vectors: Tensor, norm: float) -> None:
        """Rescales the last layer so that the given (N, D) vectors become soft tokens of the median length ``norm``."""
        got = float(self(vectors).norm(dim=-1).median())
        if got > 0:
            self.last.weight.mul_(norm / got)
            self.last.bias.mul_(norm / got)

    @torch.no_grad()
    def fit_to(self, vectors: Tensor, targets: Tensor, ridge: float = RIDGE) -> float:
        """Solves the last layer by ridge regression (the first stays random), so that soft tokens land on ``targets``.

        Args:
            vectors: (N, D).
            targets: (N, H), e.g. the language model's own embeddings of the items' titles.
            ridge: see :data:`RIDGE`.

        Returns:
            R², the share of the variance of ``targets`` that is reached on these vectors.
        """
        features = self.features(vectors).double()
        targets = targets.to(features)
        middle, mean = features.mean(0), targets.mean(0)
        centred = features - middle
        gram = centred.T @ centred
        penalty = ridge * float(gram.diagonal().mean().clamp_min(1e-12))
        gram.diagonal().add_(penalty)
        weight = torch.linalg.solve(gram, centred.T @ (targets - mean))
        self.last.weight.copy_(weight.T)
        self.last.bias.copy_(mean - middle @ weight)
        left = (self(vectors).double() - targets).pow(2).sum()
        return float(1 - left / (targets - mean).pow(2).sum().clamp_min(1e-12))


def standardise(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """(D,) mean and () scale that make a table of vectors centred, with entries of unit mean deviation.

    One common scale, not one for each dimension: directions that carry nothing are not blown up.
    """
    mean = vectors.mean(0)
    scale = (vectors - mean).pow(2).mean().sqrt().clamp_min(1e-8)
    return mean, scale
