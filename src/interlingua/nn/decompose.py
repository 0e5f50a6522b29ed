"""Large dense decompositions, one LAPACK call each, with progress: a small one is timed to estimate their time.

The operations are torch's and numpy's own, so that the numbers are too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interlingua.progress import call

TRIED = 400
"""rows and columns of the small one"""
LONG = 1_500
"""smaller matrices take a second at most, and are not announced"""

Float64 = npt.NDArray[np.float64]


def eigh(matrix: Tensor, label: str) -> tuple[Tensor, Tensor]:
    """Eigenvalues (n,), ascending, and eigenvectors (n, n) in columns of a symmetric matrix (n, n)."""
    if len(matrix) < LONG:
        values, vectors = torch.linalg.eigh(matrix)
        return values, vectors
    small = torch.from_numpy(_symmetric(TRIED)).to(matrix)
    expected = _seconds(lambda: torch.linalg.eigh(small)) * (len(matrix) / TRIED) ** 3
    with call(label, expected):
        values, vectors = torch.linalg.eigh(matrix)
    return values, vectors


def svd(matrix: Float64, label: str) -> tuple[Float64, Float64, Float64]:
    """Thin singular value decomposition (n, k), (k,), (k, m) of (n, m); k is the smaller of n and m."""
    if min(matrix.shape) < TRIED:
        left, strength, right = np.linalg.svd(matrix, full_matrices=False)
        return left, strength, right
    operations = max(matrix.shape) * min(matrix.shape) ** 2
    expected = _seconds(lambda: np.linalg.svd(_symmetric(TRIED))) * operations / TRIED**3
    with call(label, expected):
        left, strength, right = np.linalg.svd(matrix, full_matrices=False)
    return left, strength, right


def _symmetric(n: int) -> Float64:
    """(n, n) random; from a generator of its own, so that nobody else's draws change."""
    drawn = np.random.default_rng(0).standard_normal((n, n))
    return np.asarray(drawn + drawn.T)


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
