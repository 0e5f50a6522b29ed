"""The inverse of a symmetric positive definite matrix in blocks of columns: it shows progress and can be stopped.

Same operations as LAPACK's ``potrf`` and ``potri`` (``n^3`` multiplications in all), which say nothing for minutes.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from interlingua.progress import task

TRIED = 1_500
"""rows of the inverse that is timed"""
BLOCK = 512
"""columns at a time: matrix products large enough to run at full speed, steps short enough to be told apart"""


def spd_inverse(matrix: Tensor, label: str, block: int = BLOCK) -> Tensor:
    """(n, n) the inverse; ``matrix`` (n, n) is overwritten by its Cholesky factor (lower triangle).

    Args:
        matrix: symmetric positive definite; only its lower triangle is read.
        label: shown in the progress.
        block: columns at a time.
    """
    n = len(matrix)
    starts = range(0, n, block)
    inverse = torch.zeros_like(matrix)
    ends = _ends(n, block)
    with task(label, ends[-1] if ends else 0) as shown:
        for at in starts:
            _factor_columns(matrix, at, min(at + block, n))
            shown.advance(ends.pop(0) - shown.done)
        for at in starts:
            _inverse_columns(matrix, inverse, at, min(at + block, n))
            shown.advance(ends.pop(0) - shown.done)
    lower = torch.tril(inverse, -1)
    return torch.tril(inverse).add_(lower.T)


def seconds_of_inverse(items: int) -> float:
    """Estimated time of :func:`spd_inverse` for an (items, items) matrix: cubic, from the time of a small one here."""
    small = min(items, TRIED)
    matrix = torch.eye(small) * 2
    started = time.perf_counter()
    spd_inverse(matrix, "inverse: trying")
    return (time.perf_counter() - started) * (items / max(small, 1)) ** 3


def _factor_columns(matrix: Tensor, start: int, stop: int) -> None:
    """Columns ``start`` to ``stop`` of the factor, from those before them (left-looking)."""
    panel = matrix[start:, start:stop]
    if start:
        panel -= matrix[start:, :start] @ matrix[start:stop, :start].T
    top = torch.linalg.cholesky(torch.tril(panel[: stop - start]) + torch.tril(panel[: stop - start], -1).T)
    panel[: stop - start] = top
    if stop < len(matrix):
        below = panel[stop - start :]
        below.copy_(torch.linalg.solve_triangular(top, below.T, upper=False).T)


def _inverse_columns(factor: Tensor, inverse: Tensor, start: int, stop: int) -> None:
    """Rows from ``start`` on of the inverse's columns: those above are known by symmetry."""
    rest = factor[start:, start:]
    unit = torch.zeros(len(rest), stop - start, dtype=factor.dtype)
    unit.fill_diagonal_(1.0)
    half = torch.linalg.solve_triangular(rest, unit, upper=False)
    inverse[start:, start:stop] = torch.linalg.solve_triangular(rest.T, half, upper=True)


def _ends(n: int, block: int) -> list[int]:
    """Percent of the work that is done after each step: of the factor (a third in all), then of the inverse."""
    below = np.array([n - at for at in range(0, n, block)], float)
    before = n - below
    factor, inverse = below * (before + block / 2), below**2
    whole = np.concatenate([factor / max(factor.sum(), 1.0), 2 * inverse / max(inverse.sum(), 1.0)]) / 3
    return [round(percent) for percent in 100 * np.cumsum(whole)]
