"""Training losses as pure functions of tensors. Each returns a scalar mean unless it says otherwise.

Shape key: N rows, K negatives, I items, D width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

CHUNK_ELEMENTS = 500_000
"""logits held at once by :func:`full_softmax`: 2 MB in fp32, fastest of 125k to 8M measured on two EPYC cores"""


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


def first_is_positive(scores: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of rows of which the first item is observed, each item of weight one; the mean over all.

    Args:
        scores: (N, 1 + K) of the observed item, then of sampled ones.
        weights: (N, 1 + K) others than one, or None.
    """
    labels = torch.zeros_like(scores)
    labels[:, 0] = 1.0
    return functional.binary_cross_entropy_with_logits(scores, labels, weights)


def gbce(positive: Tensor, negative: Tensor, num_items: int, calibration: float) -> Tensor:
    """Generalised binary cross-entropy: the positive's likelihood to the power ``beta`` (Petrov & Macdonald 2023).

    ``-(beta log sigmoid(s+) + sum_k log(1 - sigmoid(s_k))) / (K + 1)`` with ``beta = a (t (1 - 1 / a) + 1 / a)`` and
    ``a = K / (I - 1)`` (arXiv 2308.07192, section 5): few negatives among many items make a model overconfident, and a
    small beta undoes it.

    Args:
        positive: (N,) scores of observed items.
        negative: (N, K) scores of uniformly sampled items.
        num_items: I.
        calibration: t: 0 is the plain loss (beta 1), 1 gives beta a.
    """
    count = negative.shape[-1]
    rate = min(count / max(num_items - 1, 1), 1.0)
    beta = calibration * (rate - 1) + 1
    both = beta * functional.softplus(-positive) + functional.softplus(negative).sum(-1)
    return (both / (count + 1)).mean()


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


def log_q_softmax(positive: Tensor, negative: Tensor, expected: Tensor, own: Tensor | None = None) -> Tensor:
    """Cross-entropy of the positive among itself and K drawn negatives, each less the log of how often it is drawn.

    A draw of item i stands for ``1 / (K q_i)`` of it, so that the partition function's expectation is that of the full
    softmax, whatever q is (logQ correction: Bengio & Senecal 2008; Yi et al., RecSys 2019).

    Args:
        positive: (N,) scores of observed items.
        negative: (N, K) scores of drawn items; -inf for one that does not count.
        expected: (N, K) expected number ``K q_i`` of draws of each of them.
        own: (N,) the same of the observed items, to correct their scores too, as Yi et al. do; None: they are no draws.
    """
    positive = positive if own is None else positive - own.log()
    logits = torch.cat([positive.unsqueeze(-1), negative - expected.log()], dim=-1)
    return (torch.logsumexp(logits, dim=-1) - positive).mean()


def full_softmax(states: Tensor, table: Tensor, targets: Tensor, bias: Tensor | None = None) -> Tensor:
    """Cross-entropy over all items: the mean of ``cross_entropy(states @ table.T + bias, targets)``.

    Equal to the plain formula up to rounding, but the (N, I) logits exist only in chunks: each chunk's gradient is made
    while its logits are still in cache.

    Args:
        states: (N, D)
        table: (I, D)
        targets: (N,) item indices.
        bias: (I,) added to the logits, or None.
    """
    return _FullSoftmax.apply(states, table, targets, bias)


def shared_softmax(states: Tensor, table: Tensor, targets: Tensor, num_negatives: int) -> Tensor:
    """:func:`full_softmax` with a partition function estimated from items that all rows share.

    The items are the batch's own targets, each counted once, and uniform draws from all others, each standing for as
    many as it takes: ``Z ~ sum over targets of exp(s) + (I - T) / K * sum over draws of exp(s)``. Its expectation over
    the draws is the full ``Z`` (a Horvitz-Thompson estimate), and one product with T + K items does for every row.

    Args:
        states: (N, D)
        table: (I, D)
        targets: (N,) item indices.
        num_negatives: items drawn, from all items and with replacement; K are left without those that are targets.
    """
    own, places = targets.unique(return_inverse=True)
    is_own = torch.zeros(len(table), dtype=torch.bool, device=table.device)
    is_own[own] = True
    drawn = torch.randint(len(table), (num_negatives,), device=table.device)
    drawn = drawn[~is_own[drawn]]
    bias = states.new_zeros(len(own) + len(drawn))
    bias[len(own) :] = math.log(max(len(table) - len(own), 1) / max(len(drawn), 1))
    chosen = functional.embedding(torch.cat([own, drawn]), table)
    return full_softmax(states, chosen, places, bias)


def multinomial(logits: Tensor, counts: Tensor) -> Tensor:
    """Negative log-likelihood ``-sum_i x_i log softmax_i`` of whole rows (Liang et al. 2018, eq. 2), mean over rows.

    Args:
        logits: (N, I)
        counts: (N, I) how often a row has each item.
    """
    return -(functional.log_softmax(logits, dim=-1) * counts).sum(-1).mean()


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """``KL(N(mean, variance) || N(0, 1))`` of diagonal Gaussians (N, K): sum over K, mean over rows."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1).mean()


class _FullSoftmax(torch.autograd.Function):
    """Loss and gradients in one pass over chunks of rows; backward only scales them."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor, targets: Tensor, bias: Tensor | None) -> Tensor:
        if torch.is_autocast_enabled(states.device.type):
            dtype = torch.get_autocast_dtype(states.device.type)
            states, table = states.to(dtype), table.to(dtype)
        loss = states.new_zeros((), dtype=torch.float32)
        d_states, d_table = torch.empty_like(states), torch.zeros_like(table, dtype=torch.float32)
        d_bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        step = max(1, CHUNK_ELEMENTS // max(table.shape[0], 1))
        # two buffers for all chunks: fresh memory costs more than the product that fills it
        logits, chances = (table.new_empty(min(step, len(states)), table.shape[0]) for _ in range(2))
        for part, goal, d_part in zip(states.split(step), targets.split(step), d_states.split(step), strict=True):
            scores = torch.mm(part, table.T, out=logits[: len(part)])
            if bias is not None:
                scores += bias
            at_goal = scores.gather(1, goal[:, None])
            highest = scores.amax(dim=1)
            chance = torch.softmax(scores, dim=1, out=chances[: len(part)])
            # the likeliest item's chance is 1 / sum(exp(scores - highest)): the partition function without another pass
            loss += (highest.float() - chance.amax(dim=1).float().log() - at_goal[:, 0].float()).sum()
            chance.scatter_add_(1, goal[:, None], torch.full_like(at_goal, -1.0))
            torch.mm(chance, table, out=d_part)
            if chance.dtype == d_table.dtype:
                d_table.addmm_(chance.T, part)
            else:
                d_table += chance.T @ part
            if d_bias is not None:
                d_bias += chance.sum(dim=0)
        ctx.save_for_backward(d_states, d_table, d_bias)
        ctx.count = max(len(targets), 1)
        return loss / ctx.count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        d_states, d_table, d_bias = ctx.saved_tensors
        scale = grads[0] / ctx.count
        return d_states * scale, d_table * scale, None, None if d_bias is None else d_bias * scale
