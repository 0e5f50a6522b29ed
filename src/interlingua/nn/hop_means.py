"""Means of rows over one and two hops of a user-item graph.

Shape key: U users, I items, n nodes of one side, m of the other, T width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor


@dataclass(frozen=True)
class Hops:
    """Of the nodes of one side; a node without such neighbours has a row of zeros."""

    one: Tensor
    """(n, T) mean over neighbours; (0, T) where the other side has no rows"""
    two: Tensor
    """(n, T) mean over the neighbours' neighbours, the node itself left out"""
    has_one: Tensor
    """(n,) bool"""
    has_two: Tensor
    """(n,) bool"""


def hop_means(graph: sp.csr_matrix, own: Tensor, other: Tensor | None) -> Hops:
    """Means along a walk that chooses each neighbour alike.

    Args:
        graph: (n, m) 1 where a node has a neighbour.
        own: (n, T) rows of the nodes.
        other: (m, T) rows of the other side; None: it has none.
    """
    values = own.detach().cpu().double().numpy()
    degrees, back = np.asarray(graph.sum(1)).ravel(), np.asarray(graph.sum(0)).ravel()
    forth = sp.diags_array(1 / np.maximum(degrees, 1)) @ graph
    again = sp.diags_array(1 / np.maximum(back, 1)) @ graph.T
    itself = forth @ (1 / np.maximum(back, 1))
    left = 1 - itself
    has_two = (degrees > 0) & (left > 1e-9)
    walked = forth @ (again @ values) - itself[:, None] * values
    two = np.where(has_two[:, None], walked / np.where(has_two, left, 1.0)[:, None], 0.0)
    one = np.zeros((0, own.shape[1])) if other is None else forth @ other.detach().cpu().double().numpy()
    return Hops(
        torch.from_numpy(one).to(own.dtype), torch.from_numpy(two).to(own.dtype),
        torch.from_numpy(degrees > 0), torch.from_numpy(has_two),
    )  # fmt: skip
