"""Item vectors from interactions alone, without training: a truncated singular value decomposition."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from interlingua.nn.decompose import svd
from interlingua.progress import call
from interlingua.runtime.repeatable import undisturbed


def item_factors(matrix: sp.csr_matrix, dim: int) -> Tensor:
    """(I, D) right singular vectors, strongest first, of a matrix (U, I) with rows and columns of unit weight.

    D is ``dim``, or the smaller side of the matrix. Signs are as they come out.
    """
    users, items = (np.maximum(np.asarray(matrix.sum(axis)).ravel(), 1.0) ** -0.5 for axis in (1, 0))
    scaled = sp.diags(users) @ matrix @ sp.diags(items)
    return leading(scaled, dim)[1].float()


def leading(matrix: sp.csr_matrix, rank: int) -> tuple[Tensor, Tensor]:
    """Singular values (R,), largest first, and right singular vectors (I, R) of a matrix (U, I), in float64.

    R is ``rank``, or the smaller side of the matrix.
    """
    from scipy.sparse.linalg import svds

    label = "directions of interactions"
    if rank >= min(matrix.shape) - 1:  # the iterative one cannot give the last
        _, strength, right = svd(matrix.toarray().astype(np.float64), label)
        return torch.as_tensor(strength[:rank].copy()), torch.as_tensor(right[:rank].T.copy())
    seconds = 2e-9 * matrix.nnz * rank + 4e-9 * sum(matrix.shape) * rank**2
    with undisturbed(), call(label, seconds):
        _, strength, right = svds(matrix.astype(np.float64), k=rank, random_state=0)
    return torch.as_tensor(strength[::-1].copy()), torch.as_tensor(right[::-1].T.copy())
