"""Diagonal Gaussians, one per row, and how far two of them are apart.

Shape key: N rows, K dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LEAST_SQUARE = 1e-7
"""added below the root of a distance: its gradient is finite where two Gaussians are equal"""


class Gaussian(NamedTuple):
    """N diagonal Gaussians."""

    mean: Tensor
    """(N, K)"""
    log_variance: Tensor
    """(N, K)"""


def divergence(p: Gaussian, q: Gaussian) -> Tensor:
    """``KL(p || q)``: sum over K, mean over rows."""
    gap = q.log_variance - p.log_variance
    squares = (p.mean - q.mean).square() * (-q.log_variance).exp()
    return 0.5 * (gap + (-gap).exp() + squares - 1).sum(-1).mean()


def wasserstein(p: Gaussian, q: Gaussian) -> Tensor:
    """2-Wasserstein distance ``sqrt(|mean - mean'|^2 + |sigma - sigma'|^2)``, mean over rows."""
    spread = (0.5 * p.log_variance).exp() - (0.5 * q.log_variance).exp()
    squares = (p.mean - q.mean).square() + spread.square()
    return (squares.sum(-1) + LEAST_SQUARE).sqrt().mean()


def midpoint(p: Gaussian, q: Gaussian) -> Gaussian:
    """The Gaussian whose mean and log variance are the means of both."""
    return Gaussian(*(torch.lerp(a, b, 0.5) for a, b in zip(p, q, strict=True)))
