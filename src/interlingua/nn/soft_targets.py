"""Cross-entropies whose targets are distributions, made by the similarity of other vectors.

Shape key: N anchors, M candidates, D width, T width of the vectors that make the targets.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from interlingua.nn.contrast import CHUNK_ELEMENTS


def certainty(entropies: Tensor, count: int, floor: float) -> Tensor:
    """``clamp(1 - H / log M, floor, 1)``: near 1 where a distribution over ``count`` candidates knows what it wants."""
    return (1 - entropies / max(math.log(count), 1e-12)).clamp(floor, 1.0)


def certain_cross_entropy(
    anchors: Tensor, candidates: Tensor, target_anchors: Tensor, target_candidates: Tensor, floor: float
) -> Tensor:
    """Mean over n of ``w_n CE(q_n, p_n)``, ``q = softmax(t_n . t_m)``, ``p = softmax(a_n . c_m)``; no gradient of q.

    ``w_n`` is :func:`certainty` of q_n. The (N, M) matrices exist only in chunks, whose gradients are made at once.

    Args:
        anchors: (N, D), in units of the temperature.
        candidates: (M, D)
        target_anchors: (N, T), in units of the temperature.
        target_candidates: (M, T)
        floor: least weight of an anchor; 1 gives the plain mean.
    """
    out: Tensor = _CertainCrossEntropy.apply(anchors, candidates, target_anchors, target_candidates, floor)
    return out


class _CertainCrossEntropy(torch.autograd.Function):
    """Loss and both gradients in one pass; backward only scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        anchors: Tensor,
        candidates: Tensor,
        target_anchors: Tensor,
        target_candidates: Tensor,
        floor: float,
    ) -> Tensor:
        total = anchors.new_zeros(())
        d_anchors, d_candidates = torch.empty_like(anchors), torch.zeros_like(candidates)
        step = max(1, CHUNK_ELEMENTS // max(len(candidates), 1))
        for start in range(0, len(anchors), step):
            part = anchors[start : start + step]
            said = target_anchors[start : start + step] @ target_candidates.T
            targets = said.softmax(1)
            entropies = said.logsumexp(1) - (targets * said).sum(1)
            weights = certainty(entropies, len(candidates), floor)
            logits = part @ candidates.T
            total += (weights * (logits.logsumexp(1) - (targets * logits).sum(1))).sum()
            slope = (logits.softmax(1) - targets) * weights[:, None]
            torch.mm(slope, candidates, out=d_anchors[start : start + step])
            d_candidates.addmm_(slope.T, part)
        ctx.save_for_backward(d_anchors, d_candidates)
        ctx.count = max(len(anchors), 1)
        return total / ctx.count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        d_anchors, d_candidates = ctx.saved_tensors
        scale = grads[0] / ctx.count
        return d_anchors * scale, d_candidates * scale, None, None, None


def soft_target_contrast(left: Tensor, right: Tensor, temperature: float) -> Tensor:
    """Contrast of pairs whose targets are soft: rows that are alike on their own side are not pushed apart.

    ``logits = X Y^T / T``, ``targets = softmax((X X^T + Y Y^T) / 2 * T)`` by rows; mean of the cross-entropies of the
    logits with the targets and of both transposed (LLMEmb's code; nothing is normalised, and gradients reach the
    targets).

    Args:
        left: (N, D) X
        right: (N, D) Y, row by row the same things.
        temperature: T
    """
    logits = left @ right.T / temperature
    targets = ((left @ left.T + right @ right.T) / 2 * temperature).softmax(1)
    forward = -(targets * logits.log_softmax(1)).sum(1)
    backward = -(targets.T * logits.T.log_softmax(1)).sum(1)
    return (forward + backward).mean() / 2
