"""Item vectors from interactions alone, without training: a truncated singular value decomposition."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from interlingua.progress import call
from interlingua.runtime.repeatable import undisturbed


def item_factors(matrix: sp.csr_matrix, dim: int) -> Tensor:
    """(I, D) right singular vectors, strongest first, of a matrix (U, I) with rows and columns of unit weight.

    D is ``dim``, or one less than the smaller side of the matrix. Signs are as they come out.
    """
    from scipy.sparse.linalg import svds

    users, items = (np.maximum(np.asarray(matrix.sum(axis)).ravel(), 1.0) ** -0.5 for axis in (1, 0))
    scaled = sp.diags(users) @ matrix @ sp.diags(items)
    with undisturbed(), call("item factors", 1e-6 * matrix.nnz * dim):
        _, _, right = svds(scaled, k=min(dim, min(matrix.shape) - 1), random_state=0)
    return torch.as_tensor(np.ascontiguousarray(right[::-1].T), dtype=torch.float32)
