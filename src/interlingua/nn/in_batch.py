"""Losses whose negatives are the other rows of the batch.

Shape key: n states, B rows, S items of a row, I items of the catalogue, C distinct items of the batch, D width.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

EqualTargets = Literal["left-out", "authors"]


def batch_items(*indices: Tensor | None) -> Tensor:
    """The distinct items in tensors of any shape, in ascending order, without padding (negative numbers)."""
    flat = torch.cat([each.reshape(-1) for each in indices if each is not None])
    return flat[flat >= 0].unique()


def debiased_softmax(
    states: Tensor, table: Tensor, targets: Tensor, owners: Tensor, sequences: Tensor, popularity: Tensor
) -> Tensor:
    """Cross-entropy among the items of the whole batch, each less the logarithm of its popularity.

    The in-batch loss of IDvs.MoRec (README; Yi et al., RecSys 2019): an item occurs in a batch as often as it is
    popular, so its score loses ``log p``. What occurs several times counts as often; items of a state's own sequence
    are no negatives of it.

    Args:
        states: (n, D)
        table: (I, D)
        targets: (n,) item indices; each occurs in its row of ``sequences``.
        owners: (n,) the row of each state.
        sequences: (B, S) all items of each row, targets included; negative where there is none.
        popularity: (I,) fraction of all events.
    """
    row, place = (sequences >= 0).nonzero(as_tuple=True)
    items, at, copies = sequences[row, place].unique(return_inverse=True, return_counts=True)
    own = torch.zeros(len(sequences), len(items), dtype=torch.bool, device=states.device)
    own[row, at] = True
    goal = torch.searchsorted(items, targets)
    of_target = torch.zeros(len(targets), len(items), dtype=torch.bool, device=states.device)
    of_target[torch.arange(len(targets), device=states.device), goal] = True
    chance = popularity[items].clamp_min(torch.finfo(states.dtype).tiny).log()
    logits = states @ functional.embedding(items, table).T - chance  # (n, C)
    logits = logits + copies.to(states.dtype).log().masked_fill(of_target, 0.0)  # a target is its own row's: once
    return functional.cross_entropy(logits.masked_fill(own[owners] & ~of_target, -math.inf), goal)


def contrast(
    left: Tensor, right: Tensor, targets: Tensor, temperature: float, equal: EqualTargets = "left-out"
) -> Tensor:
    """Mean over rows of ``-cos(l_b, r_b) / T + log sum_c exp(cos(l_b, r_c) / T)``, c over the batch.

    Args:
        left: (B, D)
        right: (B, D)
        targets: (B,) item of each row.
        temperature: T.
        equal: what other rows with a row's own target are to it: ``left-out`` of its sum, or in it with a logit of 0
            (``authors``: UniSRec's code sets the logit, not the summand, to 0).
    """
    logits = functional.normalize(left, dim=-1) @ functional.normalize(right, dim=-1).T / temperature
    own = torch.eye(len(targets), dtype=torch.bool, device=logits.device)
    same = (targets[:, None] == targets[None, :]) & ~own
    logits = logits.masked_fill(same, -math.inf if equal == "left-out" else 0.0)
    return (logits.logsumexp(dim=1) - logits.diagonal()).mean()
