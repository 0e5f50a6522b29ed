"""Training losses as pure functions of tensors. Each returns a scalar mean unless it says otherwise.

Shape key: N rows, K negatives, I items, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

CHUNK_ELEMENTS = 2_000_000
"""logits held at once by :func:`full_softmax`: 8 MB in fp32, about a core's share of the last-level cache"""


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking: ``-log sigmoid(positive - negative)`` (Rendle et al. 2009, BPR-Opt).

    Args:
        positive: (N,) scores of observed items.
        negative: (N,) or (N, K) scores of sampled items.
    """
    if negative.dim() > positive.dim():
        positive = positive.unsqueeze(-1)
    return functional.softplus(negative - positive).mean()


def bce(positive: Tensor, negative: Tensor) -> Tensor:
    """Binary cross-entropy of one positive against its negatives (Kang & McAuley 2018, eq. 7), negatives averaged.

    Args:
        positive: (N,) scores of observed items.
        negative: (N,) or (N, K) scores of sampled items.
    """
    return functional.softplus(-positive).mean() + functional.softplus(negative).mean()


def sampled_softmax(positive: Tensor, negative: Tensor, num_items: int | None = None) -> Tensor:
    """Cross-entropy of the positive among itself and K uniformly drawn negatives.

    Args:
        positive: (N,) scores of observed items.
        negative: (N, K) scores of sampled items.
        num_items: I; when given, each negative stands for (I - 1) / K items, which makes the expected partition
            function that of the full softmax (uniform proposal correction).
    """
    if num_items is not None:
        negative = negative + torch.log(negative.new_tensor((num_items - 1) / negative.shape[-1]))
    logits = torch.cat([positive.unsqueeze(-1), negative], dim=-1)
    return (torch.logsumexp(logits, dim=-1) - positive).mean()


def full_softmax(states: Tensor, table: Tensor, targets: Tensor, bias: Tensor | None = None) -> Tensor:
    """Cross-entropy over all items: the mean of ``cross_entropy(states @ table.T + bias, targets)``.

    Equal to the plain formula up to rounding, but the (N, I) logits exist only in chunks: each chunk's gradient is made
    while its logits are still in cache.

    Args:
        states: (N, D)
        table: (I, D)
        targets: (N,) item rows.
        bias: (I,) added to the logits, or None.
    """
    return _FullSoftmax.apply(states, table, targets, bias)


class _FullSoftmax(torch.autograd.Function):
    """Loss and gradients in one pass over chunks of rows; backward only scales them."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor, targets: Tensor, bias: Tensor | None) -> Tensor:
        if torch.is_autocast_enabled(states.device.type):
            dtype = torch.get_autocast_dtype(states.device.type)
            states, table = states.to(dtype), table.to(dtype)
        count, items = len(targets), table.shape[0]
        rows = max(1, CHUNK_ELEMENTS // items)
        loss = states.new_zeros((), dtype=torch.float32)
        d_states, d_table = torch.empty_like(states), torch.zeros_like(table, dtype=torch.float32)
        d_bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        for start in range(0, count, rows):
            part, goal = states[start : start + rows], targets[start : start + rows]
            logits = (part @ table.T).float()
            if bias is not None:
                logits += bias
            logits -= logits.amax(dim=1, keepdim=True)
            at_goal = logits.gather(1, goal[:, None])
            total = logits.exp_().sum(dim=1, keepdim=True)
            loss += (total.log() - at_goal).sum()
            logits /= total * count
            logits.scatter_add_(1, goal[:, None], torch.full_like(at_goal, -1.0 / count))
            gradient = logits.to(table.dtype)
            torch.mm(gradient, table, out=d_states[start : start + rows])
            if d_table.dtype == gradient.dtype:
                d_table.addmm_(gradient.T, part)
            else:
                d_table += gradient.T @ part
            if d_bias is not None:
                d_bias += logits.sum(dim=0)
        ctx.save_for_backward(d_states, d_table, d_bias)
        return loss / max(count, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        d_states, d_table, d_bias = ctx.saved_tensors
        scale = grads[0]
        return d_states * scale, d_table * scale, None, None if d_bias is None else d_bias * scale
