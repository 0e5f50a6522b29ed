"""Texts mapped into the backbone's space by ridge regression: a closed-form aligner, and the baseline for cold items.

Source: the linear map from content to factors of Gantner et al., "Learning Attribute-to-Feature Mappings for Cold-Start
Recommendations", ICDM 2010, fitted by least squares; the penalty is chosen by the leave-one-out error (PRESS), which
has a closed form (Allen, Technometrics 1974), so that no validation data are read.

Shape key: I items, T text width, D backbone width.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from interlingua.align._profile_map import needed
from interlingua.config import Config
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.errors import DataError
from interlingua.nn.decompose import eigh
from interlingua.progress import track

GRID = [10.0**power for power in (-4, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2)]
"""penalties tried, in units of the mean squared singular value of the centred texts"""


class RidgeConfig(Config):
    """Options of the aligner ``ridge``."""

    penalty: float | None = Field(None, gt=0)
    """in units of the mean squared singular value of the centred texts; None: the best leave-one-out error"""
    weighting: Literal["none", "log", "count"] = "log"
    """how much an item counts: equally, by log(1 + events), or by its events"""
    norm: Literal["none", "match"] = "none"
    """``match``: mapped vectors are stretched to the mean length of the trained ones (regression shrinks them)"""


class Ridge(Aligner):
    """``items`` stay the backbone's vectors; ``items_from_text`` are predicted from their texts, in the same space."""

    Config = RidgeConfig
    reads = frozenset({"text.items"})
    keeps_space = True
    closed_form = True
    weight: Tensor
    offset: Tensor
    stretch: Tensor
    penalty: Tensor

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """See :class:`interlingua.contracts.component.Component`."""
        return super().makes(config) | {"items_from_text"}

    def __init__(self, config: RidgeConfig, backbone_dim: int, text_dim: int) -> None:
        super().__init__(config, backbone_dim, text_dim)
        self.register_buffer("weight", torch.zeros(text_dim, backbone_dim))
        self.register_buffer("offset", torch.zeros(backbone_dim))
        self.register_buffer("stretch", torch.ones(()))
        self.register_buffer("penalty", torch.zeros(()))

    @torch.no_grad()
    def fit(self, job: Fitting) -> FitLog:
        """Fits on the items whose vectors the backbone learned or received.

        Raises:
            ConfigError: no text source.
            DataError: fewer than two such items.
        """
        backbone, train = job.backbone, job.train
        assert backbone is not None
        counts = torch.as_tensor(train.item_counts).clamp(min=1) * backbone.learned_items(train)
        self.fit_vectors(needed(job.text, "ridge").rows("items").detach(), backbone.item_embeddings().detach(), counts)
        return FitLog.untrained()

    def fit_vectors(self, texts: Tensor, vectors: Tensor, counts: Tensor) -> None:
        """Fits the map from ``texts`` (I, T) to ``vectors`` (I, D) on the items with ``counts`` > 0 (I,)."""
        warm = counts > 0
        if int(warm.sum()) < 2:
            raise DataError(f"the aligner 'ridge' needs two items with learned vectors, got {int(warm.sum())}")
        device = self.weight.device
        source, target = texts[warm.to(texts.device)].to(device), vectors[warm.to(vectors.device)].to(device)
        weights = _weights(counts[warm].to(device), self.config.weighting)
        solution = ridge(source.double(), target.double(), weights, self.config.penalty)
        for name, value in zip(("weight", "offset", "penalty"), solution, strict=True):
            self.get_buffer(name).copy_(value)
        self.stretch.fill_(1.0)
        if self.config.norm == "match":
            mapped = self.text_latent(source).norm(dim=1).mean()
            self.stretch.fill_(float(target.norm(dim=1).mean() / mapped.clamp_min(1e-12)))

    def text_latent(self, vectors: Tensor) -> Tensor:
        """(n, D) text vectors (n, T) in the backbone's space."""
        return (vectors.to(self.weight.device) @ self.weight + self.offset) * self.stretch

    def to_backbone(self, latents: Tensor) -> Tensor:
        """(n, D) the same vectors: the joint space is the backbone's."""
        return latents

    @torch.no_grad()
    def export(self, job: Fitting) -> dict[str, Tensor]:
        """The backbone's item vectors, and those predicted from texts."""
        return super().export(job) | {"items_from_text": self.text_latent(needed(job.text, "ridge").rows("items"))}


def ridge(source: Tensor, target: Tensor, weights: Tensor, penalty: float | None) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted ridge regression with an unpenalised intercept.

    Args:
        source: (n, T) float64.
        target: (n, D) float64.
        weights: (n,) positive, of mean 1.
        penalty: see :class:`RidgeConfig`; None: least leave-one-out error over a grid.

    Returns:
        weight (T, D), offset (D,), the penalty (a scalar) that was used.
    """
    fraction = (weights / weights.sum())[:, None]
    mean_source, mean_target = (fraction * source).sum(0), (fraction * target).sum(0)
    root = weights.sqrt()[:, None]
    centred, goal = root * (source - mean_source), root * (target - mean_target)
    squared, basis = eigh(centred.T @ centred, "ridge: directions of the texts")
    squared = squared.clamp_min(0)
    unit = float(squared.mean().clamp_min(1e-300))
    scores, projected = centred @ basis, basis.T @ (centred.T @ goal)
    best, chosen = float("inf"), penalty or GRID[0]
    for candidate in track([] if penalty is not None else GRID, "ridge: penalties"):
        shrink = 1 / (squared + candidate * unit)
        leverage = (scores**2 * shrink).sum(1) + fraction[:, 0]
        residual = (goal - scores @ (shrink[:, None] * projected)) / (1 - leverage).clamp_min(1e-6)[:, None]
        error = float(residual.square().mean())
        if error < best:
            best, chosen = error, candidate
    weight = basis @ (projected / (squared + chosen * unit)[:, None])
    return weight, mean_target - mean_source @ weight, torch.tensor(chosen)


def _weights(counts: Tensor, weighting: str) -> Tensor:
    values = counts.double()
    values = {"none": torch.ones_like(values), "log": torch.log1p(values), "count": values}[weighting]
    return values / values.mean()
