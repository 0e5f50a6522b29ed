"""Item-item weights of EASE as products of vectors, for catalogues whose (I, I) matrices do not fit in memory.

Shape key: U users, I items, R rank, T text width. ``X`` (U, I) interactions, ``F`` (T, I) text vectors as columns.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from interlingua.nn.blockwise import spd_inverse
from interlingua.nn.factors import leading

SMALLEST = 1e-6
"""of the largest singular value: directions below it are left out"""


def ease_towers(matrix: sp.csr_matrix, rank: int, ridge: float) -> tuple[Tensor, Tensor]:
    """(I, R) each, L and Q: EASE's weights are ``L Q'`` but for their diagonal, for a Gram matrix of low rank.

    ``X'X`` is taken as ``V S^2 V' + D``: its leading directions, and what they leave of its diagonal. By Woodbury
    ``inverse(X'X + ridge I) = E - E V inverse(S^-2 + V'E V) V'E`` with ``E = inverse(D + ridge I)``, which is diagonal.
    With all directions D is 0 and the weights are EASE's (Steck 2019, eq. 8).

    Args:
        matrix: (U, I) X.
        rank: R at most.
        ridge: above 0.
    """
    strength, directions = leading(matrix, rank)
    mask = strength > SMALLEST * strength[0]
    squared, vectors = strength[mask].square(), directions[:, mask]  # (R,), (I, R)
    counts = torch.as_tensor(np.asarray(matrix.multiply(matrix).sum(0)).ravel(), dtype=torch.float64)
    left = (counts - vectors.square() @ squared).clamp_min(0)
    inside = vectors / (left + ridge)[:, None]  # E V
    middle = spd_inverse(torch.diag(1 / squared) + vectors.T @ inside, "low-rank ease")
    products = inside @ middle  # E V inverse(...)
    diagonal = 1 / (left + ridge) - (products * inside).sum(1)
    return products.float(), (inside / diagonal[:, None]).float()


def text_towers(texts: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """(I, T) each, L and Q: :func:`interlingua.nn.linear_autoencoders.text_weights` as ``L Q'`` but for the diagonal.

    Args:
        texts: (I, T), the rows of F'.
        ridge: above 0.
    """
    vectors = texts.double()
    inner = vectors.T @ vectors
    inner.diagonal().add_(ridge)
    half = vectors @ spd_inverse(inner, "item texts") / ridge
    diagonal = 1 / ridge - (half * vectors).sum(1)
    return texts.float(), (half / diagonal[:, None]).float()
