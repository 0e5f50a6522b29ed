"""Losses over a batch in which rows occur several times, computed once per distinct row.

Each is equal to the loss over the batch with its copies written out, at a cost of the number of distinct rows.

Shape key: n distinct rows, D width, m (n,) how often each row occurs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def repeated_infonce(left: Tensor, right: Tensor, counts: Tensor, temperature: float) -> Tensor:
    """InfoNCE from ``left`` to ``right`` (n, D) by cosine: a row's pair against all others, its own copies left out.

    ``mean over copies of -log exp(s_ii) / (exp(s_ii) + sum over j != i of m_j exp(s_ij))``

    Args:
        left: (n, D)
        right: (n, D)
        counts: m (n,)
        temperature: divides the cosines.
    """
    scores = functional.normalize(left, dim=1) @ functional.normalize(right, dim=1).T / temperature
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    logits = scores + counts.log().masked_fill(own, 0.0)
    each = logits.logsumexp(1) - scores.diagonal()
    return (counts * each).sum() / counts.sum()


def repeated_barlow_twins(left: Tensor, right: Tensor, counts: Tensor, off_diagonal: float) -> Tensor:
    """Barlow Twins (Zbontar et al. 2021): correlations of the dimensions of ``left`` and ``right`` become the identity.

    Args:
        left: (n, D)
        right: (n, D)
        counts: m (n,), two or more in sum.
        off_diagonal: weight of the squares beside the diagonal.
    """
    total = counts.sum()

    def standardised(vectors: Tensor) -> Tensor:
        centred = vectors - (counts[:, None] * vectors).sum(0) / total
        variance = (counts[:, None] * centred.square()).sum(0) / (total - 1)
        return centred / (variance.clamp_min(1e-12).sqrt() + 1e-5)

    correlation = (counts[:, None] * standardised(left)).T @ standardised(right) / total
    squares = (correlation - torch.eye(len(correlation), device=correlation.device)).square()
    diagonal = squares.diagonal().sum()
    return diagonal + off_diagonal * (squares.sum() - diagonal)
