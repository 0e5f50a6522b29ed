"""Losses of a two-tower retriever, as pure functions. Each returns a scalar mean.

Shape key: B users of a batch with one chosen item each, N layers, H width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def in_batch_bpr(scores: Tensor, allowed: Tensor) -> Tensor:
    """``-log sigmoid(s_kk - s_kj)``, averaged over the pairs (k, j) that may be compared (RA-Rec's L_p, in batch).

    Args:
        scores: (B, B) score of user k (row) with the item that user j chose (column).
        allowed: (B, B) True where item j is a negative for user k. No such pair: the loss is 0.
    """
    pairs = functional.softplus(scores - scores.diagonal()[:, None])
    return (pairs * allowed).sum() / allowed.sum().clamp_min(1)


def in_batch_softmax(scores: Tensor, allowed: Tensor, log_chance: Tensor | None = None) -> Tensor:
    """Cross-entropy of a user's own item among it and the allowed items of the batch.

    Args:
        scores: (B, B) as in :func:`in_batch_bpr`.
        allowed: (B, B) as there; the diagonal counts whatever it holds.
        log_chance: (B,) log-probability with which each item comes into a batch; subtracted from its scores, so that
            frequent items are not punished for being frequent negatives (Yi et al., RecSys 2019, eq. 3).
    """
    logits = scores if log_chance is None else scores - log_chance
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    logits = logits.masked_fill(~(allowed | own), -torch.inf)
    return functional.cross_entropy(logits, torch.arange(len(scores), device=scores.device))


def in_batch_distillation(scores: Tensor, taught: Tensor, allowed: Tensor, log_chance: Tensor | None = None) -> Tensor:
    """Cross-entropy of the towers' choice among the batch's items with another model's choice among them.

    Hinton et al. 2015 (arXiv 1503.02531) at temperature 1, on the candidates of :func:`in_batch_softmax`. Its least
    value is the entropy of the other model's choice.

    Args:
        scores: (B, B) as in :func:`in_batch_bpr`.
        taught: (B, B) the other model's scores of the same pairs, as log-probabilities up to a constant of each row.
        allowed: (B, B) as there; the diagonal counts whatever it holds.
        log_chance: (B,) as in :func:`in_batch_softmax`, subtracted from both.
    """
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    barred = ~(allowed | own)
    shift = 0.0 if log_chance is None else log_chance
    goal = (taught - shift).masked_fill(barred, -torch.inf).softmax(dim=-1)
    logits = (scores - shift).masked_fill(barred, torch.finfo(scores.dtype).min / 2)  # finite: it is multiplied by 0
    return functional.cross_entropy(logits, goal)


def layer_alignment(prompts: Tensor, texts: Tensor, temperature: float, same: Tensor | None = None) -> Tensor:
    """InfoNCE between what the prompt of a layer is and what that layer makes of the text (RA-Rec's L_ua, L_ia).

    ``-log exp(cos(d_k, h_k) / t) / sum_j exp(cos(d_k, h_j) / t)``, averaged over rows, summed over layers.

    **Deviations:** the only copy of the formula at hand runs both indices of the denominator, which cannot be meant:
    here row k's prompt is fixed and the batch's texts are the alternatives. Cosines are our choice.

    Args:
        prompts: (B, N, H) one vector per row and layer.
        texts: (B, N, H) states of the pass without a prompt.
        temperature: t.
        same: (B, B) True where rows are the same thing, which are no alternatives to each other (the diagonal counts
            whatever it holds).
    """
    cosines = torch.einsum("knh,jnh->nkj", functional.normalize(prompts, dim=-1), functional.normalize(texts, dim=-1))
    logits = cosines / temperature
    if same is not None:
        own = torch.eye(len(prompts), dtype=torch.bool, device=prompts.device)
        logits = logits.masked_fill(same & ~own, -torch.inf)
    targets = torch.arange(len(prompts), device=prompts.device).expand(len(logits), -1)
    return functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none").mean(1).sum()


def tower_scores(users: Tensor, items: Tensor, *, normalised: bool = False, temperature: float = 1.0) -> Tensor:
    """(B, I) dot products of (B, H) user and (I, H) item states, over a temperature; ``normalised``: cosines."""
    if normalised:
        users, items = functional.normalize(users, dim=-1), functional.normalize(items, dim=-1)
    return users @ items.T / temperature
