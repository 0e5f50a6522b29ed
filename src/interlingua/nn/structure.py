"""How alike the structures of two spaces are: all pairs of rows, and matched clusters; and what keeps parts apart.

Shape key: n rows, D width, K clusters.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from interlingua.nn.contrast import unit

ROUNDS = 10
"""of K-means"""


def squared_cosine(left: Tensor, right: Tensor) -> Tensor:
    """Mean over rows of ``cos(left_i, right_i)^2``: 0 where each row is orthogonal to its partner; both (n, D)."""
    return (unit(left) * unit(right)).sum(-1).square().mean()


def uniformity(vectors: Tensor) -> Tensor:
    """``log mean over pairs of exp(-2 |x - y|^2)`` of unit vectors (Wang & Isola 2020): low where they are spread out.

    Args:
        vectors: (n, D), n at least 2.
    """
    cosines = unit(vectors) @ unit(vectors).T
    exponents = (4 * cosines - 4).fill_diagonal_(-torch.inf)  # |x - y|^2 = 2 - 2 cos
    return exponents.flatten().logsumexp(0) - math.log(len(vectors) * (len(vectors) - 1))


def similarity_gap(left: Tensor, right: Tensor) -> Tensor:
    """Mean over pairs of rows of the squared difference of both spaces' cosines; (n, D) each, n at least 2."""
    left, right = unit(left), unit(right)
    gaps = (left @ left.T - right @ right.T).fill_diagonal_(0)
    return gaps.square().sum() / (len(left) * (len(left) - 1))


@torch.no_grad()
def clusters(vectors: Tensor, count: int) -> Tensor:
    """(n,) numbers 0 .. K - 1 of the rows' clusters by direction: K-means on unit vectors, always begun alike."""
    table = unit(vectors).double().cpu().numpy()
    distinct = len(np.unique(table.round(6), axis=0))
    with warnings.catch_warnings(action="ignore"):  # a cluster that loses all its rows is no mistake
        _, labels = kmeans2(table, min(count, distinct), iter=ROUNDS, minit="++", rng=0)
    return torch.as_tensor(labels, dtype=torch.int64, device=vectors.device)


def centre_gap(left: Tensor, right: Tensor, left_labels: Tensor, right_labels: Tensor) -> Tensor:
    """How far matched cluster centres of two spaces are from being equal, and the others from being orthogonal.

    Centres are means of rows; each of one space is matched with one of the other so that the sum of their cosines is
    largest (Hungarian method). With M the cosines of matched centres: mean of ``(M_kk - 1)^2`` plus mean of the other
    ``M_kl^2``. Clusters without a row are left out.

    Args:
        left: (n, D)
        right: (n, D)
        left_labels: (n,) cluster of each row.
        right_labels: (n,)
    """
    cosines = unit(_centres(left, left_labels)) @ unit(_centres(right, right_labels)).T
    first, second = linear_sum_assignment(cosines.detach().cpu().numpy(), maximize=True)
    matched = cosines[torch.as_tensor(first, device=left.device)][:, torch.as_tensor(second, device=left.device)]
    own = torch.eye(len(matched), dtype=torch.bool, device=left.device)
    gap = (matched[own] - 1).square().mean()
    return gap + matched[~own].square().mean() if len(matched) > 1 else gap


def _centres(vectors: Tensor, labels: Tensor) -> Tensor:
    """(k, D) means of the clusters that have rows."""
    _, places, counts = labels.unique(return_inverse=True, return_counts=True)
    sums = vectors.new_zeros(len(counts), vectors.shape[1]).index_add(0, places, vectors)
    return sums / counts[:, None]
