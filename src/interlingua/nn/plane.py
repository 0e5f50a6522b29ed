"""A plane through a cloud of vectors, for looking at it: the two directions in which it spreads most (PCA).

Vectors are taken by their directions alone (length 1), as neighbours are found by cosine. New vectors are laid on the
same plane by the same mean and axes: nothing that was there moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plane:
    """Where the plane lies in the space."""

    mean: Tensor
    """(D,) of the directions that it was made from"""
    axes: Tensor
    """(D, 2) orthonormal; where the cloud spreads in fewer directions, a column of zeros"""
    explained: tuple[float, float]
    """share of the variance along each axis"""

    def at(self, vectors: Tensor) -> Tensor:
        """(N, 2) coordinates of vectors (N, D); a vector of zeros, which says nothing, lies where the mean does."""
        directions = _directions(vectors)
        silent = ~vectors.any(dim=1)
        out = (directions - self.mean) @ self.axes
        out[silent] = 0
        return out


def plane_of(vectors: Tensor) -> Plane:
    """The plane of vectors (N, D), N and D at least 1. The same vectors give the same plane, signs included.

    Vectors of zeros count for nothing.
    """
    directions = _directions(vectors[vectors.any(dim=1)].float())
    dim = vectors.shape[1]
    if len(directions) < 2:
        return Plane(torch.zeros(dim), torch.zeros(dim, 2), (0.0, 0.0))
    mean = directions.mean(dim=0)
    _, strengths, right = torch.linalg.svd(directions - mean, full_matrices=False)
    variances = strengths.square()
    total = float(variances.sum())
    axes, explained = torch.zeros(dim, 2), [0.0, 0.0]
    for number in range(min(2, len(strengths))):
        if total <= 0 or float(variances[number]) <= 1e-9 * total:
            break
        axis = right[number]
        largest = int(axis.abs().argmax())
        axes[:, number] = axis if axis[largest] > 0 else -axis  # a singular vector has no sign of its own
        explained[number] = float(variances[number]) / total
    return Plane(mean, axes, (explained[0], explained[1]))


def _directions(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors.float(), dim=1)
