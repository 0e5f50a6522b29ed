"""InfoNCE against many candidates, with the similarity matrix only ever in chunks and repeated rows computed once.

Shape key: N anchors, M candidates, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

CHUNK_ELEMENTS = 400_000
"""similarities held at once: 1.6 MB in fp32, which stay in a core's own cache; the fastest measured"""
EPSILON = 1e-8
"""added to the squared length before its root, as RLMRec's code does"""


def unit(vectors: Tensor) -> Tensor:
    """(N, D) rows divided by ``sqrt(1e-8 + |row|^2)``: a row of zeros stays zero."""
    return vectors * torch.rsqrt((vectors * vectors).sum(dim=-1, keepdim=True) + EPSILON)


def infonce(
    anchors: Tensor,
    positives: Tensor,
    candidates: Tensor | None = None,
    *,
    temperature: float,
    anchor_weights: Tensor | None = None,
    counts: Tensor | None = None,
) -> Tensor:
    """Mean over anchors of ``-cos(a_i, p_i) / T + log sum_j exp(cos(a_i, c_j) / T)`` (van den Oord et al. 2018).

    Equal to the plain formula up to rounding, without an (N, M) matrix in memory.

    Args:
        anchors: (N, D)
        positives: (N, D)
        candidates: (M, D) candidates of each anchor; None: the positives themselves (in the batch).
        temperature: T > 0.
        anchor_weights: (N,) how often each anchor stands for itself (repeated ids computed once); None: once each.
            The mean is over ``anchor_weights.sum()``.
        counts: (M,) how often each candidate occurs; None: once each.

    Returns:
        A scalar.
    """
    left, right = unit(anchors), unit(positives)
    pool = right if candidates is None else unit(candidates)
    total = float(len(anchors)) if anchor_weights is None else float(anchor_weights.sum())
    products = (left * right).sum(dim=-1)
    matched = products.sum() if anchor_weights is None else (anchor_weights * products).sum()
    partition = log_partition(left / temperature, pool, weights=anchor_weights, counts=counts, bound=1 / temperature)
    return (partition - matched / temperature) / max(total, 1.0)


def log_partition(
    anchors: Tensor,
    candidates: Tensor,
    *,
    weights: Tensor | None = None,
    counts: Tensor | None = None,
    bound: float | None = None,
) -> Tensor:
    """``sum_i w_i log sum_j m_j exp(a_i . c_j)`` as a scalar, gradients made chunk by chunk in the forward pass.

    Args:
        anchors: (N, D)
        candidates: (M, D)
        weights: (N,) w, ones if None. No gradient flows to it.
        counts: (M,) m, ones if None. No gradient flows to it.
        bound: no product is larger (1 / T for unit vectors), which saves looking for each row's largest;
            None: it is looked for, and nothing can overflow.
    """
    out: Tensor = _LogPartition.apply(anchors, candidates, weights, counts, bound)
    return out


class _LogPartition(torch.autograd.Function):
    """Loss and both gradients in one pass; backward only scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        anchors: Tensor,
        candidates: Tensor,
        weights: Tensor | None,
        counts: Tensor | None,
        bound: float | None,
    ) -> Tensor:
        total = torch.zeros((), dtype=torch.float32, device=anchors.device)
        d_anchors = torch.empty_like(anchors) if ctx.needs_input_grad[0] else None
        d_candidates = torch.zeros_like(candidates) if ctx.needs_input_grad[1] else None
        step = max(1, min(len(anchors), CHUNK_ELEMENTS // max(len(candidates), 1)))
        table = candidates if counts is None else candidates * counts[:, None]
        buffer = anchors.new_empty(step, len(candidates))
        for start in range(0, len(anchors), step):
            part = anchors[start : start + step]
            chance = torch.mm(part, candidates.T, out=buffer[: len(part)])
            shift: Tensor | float = chance.amax(dim=1, keepdim=True) if bound is None else bound
            chance.sub_(shift).exp_()
            mass = (chance.sum(dim=1) if counts is None else chance @ counts)[:, None]
            own = torch.ones_like(mass) if weights is None else weights[start : start + step, None]
            total += (own * (mass.log() + shift)).sum()
            if d_anchors is not None:
                torch.mm(chance, table, out=d_anchors[start : start + step])
                d_anchors[start : start + step] *= own / mass
            if d_candidates is not None:
                d_candidates.addmm_(chance.T, part * (own / mass))
        if d_candidates is not None and counts is not None:
            d_candidates *= counts[:, None]
        ctx.save_for_backward(d_anchors, d_candidates)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        d_anchors, d_candidates = ctx.saved_tensors
        scale = grads[0]
        return (
            None if d_anchors is None else d_anchors * scale,
            None if d_candidates is None else d_candidates * scale,
            None,
            None,
            None,
        )


def distinct(indices: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct values of ``indices`` (n,) in increasing order, and how often each occurs, as floats."""
    values, counts = torch.unique(indices, return_counts=True)
    return values, counts.to(torch.float32)


def chosen(count: int, limit: int | None, device: torch.device) -> Tensor:
    """Positions 0 .. count - 1, or ``limit`` of them at random where there are more (torch's global generator)."""
    if limit is None or limit >= count:
        return torch.arange(count, device=device)
    return torch.randperm(count, device=device)[:limit]


def anchors_of(indices: Tensor, limit: int | None, repeats: bool = True) -> tuple[Tensor, Tensor | None]:
    """The anchors of a batch, each distinct one once; at most ``limit`` positions drawn at random, None: all.

    A mean over drawn positions is the mean over all of them in expectation, so the loss stays the same one; candidates
    are not touched.

    Args:
        indices: (n,) ids as they occur in the batch.
        limit: positions to draw.
        repeats: an id that occurs several times counts as many times; otherwise once, and ids are drawn, not positions.

    Returns:
        Distinct ids (m,), and how often each stands for itself (m,), None without ``repeats``.
    """
    if repeats:
        return distinct(indices[chosen(len(indices), limit, indices.device)])
    nodes = torch.unique(indices)
    return nodes[chosen(len(nodes), limit, indices.device)], None


def gather(table: Tensor, indices: Tensor) -> Tensor:
    """(n, D) rows of a table; its gradient is a sum over rows, which is faster than that of indexing."""
    return functional.embedding(indices, table)
