"""Principal directions of vectors, and vectors in units of their spread along them.

Shape key: n rows, T width, d kept directions.
"""

from __future__ import annotations

from torch import Tensor

from interlingua.nn.decompose import eigh

LEAST_VARIANCE = 1e-6
"""directions with less of the largest variance are rounding errors, and are not blown up"""


def principal(vectors: Tensor, dim: int, label: str = "directions of the texts") -> tuple[Tensor, Tensor, Tensor]:
    """Mean (T,), the d directions of largest variance in columns (T, d), and their variances (d,), falling; float64.

    d is ``dim``, or less where fewer directions have any variance.

    Args:
        vectors: (n, T)
        dim: directions wanted, at most.
        label: for the progress of a large decomposition.
    """
    table = vectors.detach().double()
    mean = table.mean(0)
    covariance = (table - mean).T @ (table - mean) / max(len(table) - 1, 1)
    variances, basis = eigh(covariance, label)  # ascending
    variances, basis = variances.flip(0).clamp_min(0), basis.flip(1)
    rank = int((variances > LEAST_VARIANCE * variances[0]).sum())
    count = max(min(dim, rank), 1)
    return mean, basis[:, :count], variances[:count]


def whitening(vectors: Tensor, dim: int, *, standardise: bool = True) -> tuple[Tensor, Tensor]:
    """Mean (T,) and map (T, d) to coordinates along the principal directions, in units of their standard deviations.

    The covariance of ``(vectors - mean) @ map`` is the identity.

    Args:
        vectors: (n, T)
        dim: directions, at most.
        standardise: False: the coordinates as they are (principal components).
    """
    mean, basis, variances = principal(vectors, dim)
    return mean, basis * variances.clamp_min(1e-30).rsqrt() if standardise else basis


def whitened(vectors: Tensor, dim: int, fitted_on: Tensor | None = None) -> Tensor:
    """(n, d) coordinates of ``vectors`` (n, T) by :func:`whitening` of ``fitted_on`` (m, T), or of themselves."""
    mean, axes = whitening(vectors if fitted_on is None else fitted_on, dim)
    return ((vectors.detach().double() - mean) @ axes).float()
