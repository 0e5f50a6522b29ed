"""Constants for kinds of items: answers of no kind are placed worse than need be.

Shape key: M members, N questions, K kinds of items, C rivals of a question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from interlingua.nn.conditional_logit import OTHER, Block, ranks

KINDS = OTHER + 1
LEAST, ENOUGH, COST = 20, 1.05, 0.3
"""answers of a kind that counts; a ratio that suffices; what the questions as they are weigh"""
MOST = 2.0
"""of what the questions as they are may weigh, relative to what they had: none of them may have had anything"""
SOFT = 0.05
"""how far above the smallest ratio others still count, at first: the smallest alone may be 0 wherever one looks"""
FIRST_STEP, FINE_STEP, SHRINK, LEAST_STEP, ROUNDS = 1.0, 0.3, 0.6, 0.01, 3
"""of the search: how far constants are moved at first and when it is repeated, how the step shrinks, its end, how often
each step is tried while it helps"""
NOWHERE = -1e9
"""difference of a rival that is none"""


class Placed:
    """Ranks of answers under any constants, read from sorted differences of utilities: no rival is looked at twice."""

    def __init__(self, utility: Sequence[Tensor], blocks: Sequence[Block]) -> None:
        self.kinds = torch.cat([block.known.kinds.gather(1, block.rivals.answer[:, None])[:, 0] for block in blocks])
        self.plain = torch.cat([torch.full((len(block.rivals.answer),), block.plain) for block in blocks])
        self.tables = [_sorted([_differences(u, b, kind) for u, b in zip(utility, blocks, strict=True)])
                       for kind in range(KINDS)]  # fmt: skip

    def ranks(self, constants: Tensor) -> Tensor:
        """(N,) ranks of the answers from 1 on, of equals the middle, with (K,) constants added to the utilities."""
        found = torch.ones(len(self.kinds))
        for kind, (differences, summed) in enumerate(self.tables):
            limit = (constants[self.kinds] - constants[kind])[:, None]
            after = summed.gather(1, torch.searchsorted(differences, limit, right=True))[:, 0]
            before = summed.gather(1, torch.searchsorted(differences, limit))[:, 0]
            found += summed[:, -1] - after + (after - before) / 2
        return found

    def measures(self, constants: Tensor) -> tuple[Tensor, Tensor]:
        """(K, 3) sums of :func:`measured` over each kind's answers, (3,) over those of the questions as they are."""
        found = measured(self.ranks(constants))
        return self.by_kind(found), found[self.plain].sum(0)

    def by_kind(self, values: Tensor) -> Tensor:
        """(K, 3) sums of the values (N, 3) of the answers of each kind."""
        return values.new_zeros(KINDS, values.shape[1]).index_add_(0, self.kinds, values)


def measured(rank: Tensor) -> Tensor:
    """(N, 3) ``1 / log2(1 + rank)``, NDCG@10 and Recall@100 of ranks (N,)."""
    gain = 1 / torch.log2(rank + 1)
    return torch.stack([gain, gain * (rank <= 10), (rank <= 100).float()], dim=1)


@torch.no_grad()
def balanced(utility: Sequence[Tensor], members: Sequence[Sequence[Tensor]], blocks: Sequence[Block]) -> Tensor:
    """(K,) a constant for each kind of item, 0 for warm ones.

    Of each kind, and by three measures (:func:`measured`), the answers' sum is divided by that of the member
    that places them best. The smallest of these ratios is raised, up to :data:`ENOUGH`, at as little cost as possible
    to the questions as they are.

    Args:
        utility: (N, C) of each block.
        members: of each member the same: its scores alone.
        blocks: questions, with and without hidden items.
    """
    placed, none = Placed(utility, blocks), torch.zeros(KINDS)
    alone = [torch.cat([ranks(u, b.rivals) for u, b in zip(each, blocks, strict=True)]) for each in members]
    best = torch.stack([placed.by_kind(measured(rank)) for rank in alone]).max(dim=0).values
    counts = torch.bincount(placed.kinds, minlength=KINDS)
    counts_for = (counts >= LEAST)[:, None] & (best > 0)
    if not bool(counts_for.any()):
        return none
    before = placed.measures(none)[1]

    def worth(constants: Tensor, soft: float) -> float:
        sums, whole = placed.measures(constants)
        ratios = (sums / best)[counts_for].clamp(max=ENOUGH)
        smallest = -soft * torch.logsumexp(-ratios / soft, 0) if soft else ratios.min()
        return float(smallest) + COST * float((whole / before.clamp(min=1e-9))[:2].clamp(max=MOST).mean())

    found = _climb(lambda constants: worth(constants, SOFT), none, FIRST_STEP)
    return _climb(lambda constants: worth(constants, 0.0), found, FINE_STEP)


def _climb(worth: Callable[[Tensor], float], start: Tensor, step: float) -> Tensor:
    """The best constants that moves of one or several at once, by ever smaller steps, lead to."""
    moves = [torch.tensor([*move, 0.0]) for move in product((-1.0, 0.0, 1.0), repeat=KINDS - 1) if any(move)]
    found, reached = start, worth(start)
    while step > LEAST_STEP:
        for _ in range(ROUNDS):
            former = reached
            for move in moves:
                tried = found + step * move
                value = worth(tried)
                if value > reached:
                    found, reached = tried, value
            if reached == former:
                break
        step *= SHRINK
    return found


def _differences(utility: Tensor, block: Block, kind: int) -> tuple[Tensor, Tensor]:
    """(N, C) by how much rivals of a kind are above the answer, and how many items each stands for (0: no rival)."""
    answer = block.rivals.answer[:, None]
    weights = block.rivals.log_weights.exp().scatter(1, answer, 0.0)
    weights = torch.where(block.known.kinds == kind, weights, 0.0)
    return torch.where(weights > 0, utility - utility.gather(1, answer), NOWHERE), weights


def _sorted(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """(N, W) ascending differences of all blocks, and (N, W + 1) how many items the first ones stand for."""
    differences, summed = [], []
    width = max(int((weights > 0).sum(1).max()) if len(weights) else 0 for _, weights in parts)
    for found, weights in parts:
        pad = max(0, width - found.shape[1])
        found = torch.nn.functional.pad(found, (pad, 0), value=NOWHERE)
        ordered, at = found.sort(dim=1)
        counted = torch.nn.functional.pad(weights, (pad, 0)).gather(1, at)[:, found.shape[1] - width :]
        differences.append(ordered[:, found.shape[1] - width :])
        summed.append(torch.nn.functional.pad(counted.cumsum(1), (1, 0)))
    return torch.cat(differences).contiguous(), torch.cat(summed).contiguous()
