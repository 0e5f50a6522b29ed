"""Learns the numbers of a score fusion on validation queries, some of them with hidden events of items.

On the training part the backbone has already seen the answers, so a weight learned there would trust it too much. And
in the validation part of leave-one-out nearly every item has events, so nothing there says how to place one without.
Therefore some questions are asked as if a random part of the items had no events: their collaborative vectors give way
to what a ranker has for an unseen item, they count zero events, and they are taken out of the histories.

Shape key: N questions, I items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from interlingua.data.queries import IntArray, Queries
from interlingua.injection.score_fusion import Features, ScoreFusion, seen_mask
from interlingua.progress import say, task, track

SHARES = (0.2, 0.25, 0.3, 0.35)
"""of the items, hidden in one copy of the questions each"""
PRIOR_WEIGHT = 1e-3
"""strength of the pull towards the starting numbers in :func:`fit`"""
COLD_SHARE = 0.35
"""the rarest items by training events, as A-LLMRec's cold-item experiment has them"""
CALIBRATION_ROWS = 2000
"""most validation questions that the mixture is learned from, and again as many with hidden items at most"""
CELLS = 1 << 25
"""most scores (questions times items) of either kind, unless that leaves fewer than LEAST questions"""
LEAST = 200
HIDDEN_ROWS = 1000
"""questions with hidden items, where there are enough"""
HIGHEST = 20.0
"""the constant of items without events is looked for below it"""

Ask = Callable[[Queries, Tensor], Features]
"""(queries, (I,) hidden items) -> the sources' scores"""


@dataclass(frozen=True)
class Questions:
    """Held-out answers, asked as if some items had no events."""

    queries: Queries
    """N histories"""
    targets: IntArray
    """(N,) item indices"""
    hidden: npt.NDArray[np.bool_]
    """(I,) items that count as without events"""


@dataclass(frozen=True)
class Block:
    """The sources' scores for some questions."""

    features: Features
    """head, backbone and text, (N, I) each"""
    counts: Tensor
    """(I,) training events, 0 for hidden items"""
    targets: Tensor
    """(N,) item indices"""
    seen: Tensor
    """(N, I) True where an item cannot come out"""


def calibrate(
    fusion: ScoreFusion,
    features: Ask,
    counts: Tensor,
    queries: Queries,
    targets: IntArray,
    *,
    cold_weight: float = 1.0,
    floor: bool = True,
) -> float:
    """Learns the weights of head, backbone and texts.

    Args:
        fusion: its numbers are replaced; they stay where no better ones are found.
        features: what the sources say, given which items count as without events.
        counts: (I,) training events of each item.
        queries: N histories that the backbone was not trained to answer.
        targets: (N,) the item that followed.
        cold_weight: see :func:`fit`.
        floor: see :func:`raise_unseen`.

    Returns:
        Mean negative log-likelihood after it, weighted.
    """
    batches = questions(queries, np.asarray(targets, np.int64), counts.cpu().numpy())
    blocks = [_block(each, features, counts) for each in track(batches, "calibrate: questions")]
    reached = fit(fusion, blocks, cold_weight=cold_weight)
    if floor:
        raise_unseen(fusion, blocks)
    return reached


class FusionOptions(Protocol):
    """Options of every ranker that fuses its scores."""

    cold_weight: float
    unseen_floor: bool


def learned(
    fusion: ScoreFusion | None, features: Ask, counts: Tensor, queries: Queries, targets: IntArray,
    options: FusionOptions,
) -> float | None:  # fmt: skip
    """:func:`calibrate` by a ranker's options; None where it has no mixture, or there is nobody to learn from."""
    if fusion is None or not len(queries):
        return None
    return calibrate(
        fusion, features, counts, queries, targets, cold_weight=options.cold_weight, floor=options.unseen_floor
    )


def questions(queries: Queries, targets: IntArray, counts: npt.NDArray[np.floating]) -> list[Questions]:
    """The questions as they are, then copies of some of them with hidden items; the same ones every time.

    Args:
        queries: N histories.
        targets: (N,) answers.
        counts: (I,) training events.
    """
    generator = np.random.default_rng(0)
    limit = min(CALIBRATION_ROWS, max(LEAST, CELLS // max(len(counts), 1)))
    if len(queries) > limit:
        indices = generator.choice(len(queries), limit, replace=False)
        queries, targets = queries.take(indices), targets[indices]
    out = [Questions(queries, targets, np.zeros(len(counts), bool))]
    each = min(len(queries), math.ceil(min(HIDDEN_ROWS, limit) / len(SHARES)))
    for fraction in SHARES:
        hidden = (generator.random(len(counts)) < fraction) & (counts > 0)
        indices = generator.choice(len(queries), each, replace=False)
        left = without(queries.take(indices), hidden)
        answerable = np.flatnonzero(left.lengths() > 0)  # of a history without any item nothing can be said
        if len(answerable) and hidden.any():
            out.append(Questions(left.take(answerable), targets[indices][answerable], hidden))
    return out


def without(queries: Queries, hidden: npt.NDArray[np.bool_]) -> Queries:
    """The queries with the hidden items (I,) taken out of the histories."""
    mask = ~hidden[queries.items]
    owners = np.repeat(np.arange(len(queries)), queries.lengths())
    lengths = np.bincount(owners[mask], minlength=len(queries))
    return Queries(queries.users, queries.items[mask], np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def fit(fusion: ScoreFusion, blocks: Sequence[Block], *, cold_weight: float = 1.0, steps: int = 100) -> float:
    """Maximises the likelihood of held-out answers among the unseen items.

    The first block (questions as they are) counts for as much as all others together. The last number of the mixture
    is no part of it: see :func:`raise_unseen`.

    Args:
        fusion: its numbers are replaced where finite ones are found.
        blocks: questions.
        cold_weight: how much an answer among the rarest items weighs, compared with any other.
        steps: L-BFGS iterations.

    Returns:
        Mean negative log-likelihood that was reached, weighted.
    """
    start = fusion.numbers.detach().clone()
    numbers = start.clone().requires_grad_(True)
    free = torch.ones_like(start)
    free[-1] = 0.0
    optimizer = torch.optim.LBFGS([numbers], max_iter=steps, line_search_fn="strong_wolfe")
    unseen = sum(len(block.targets) for block in blocks[1:])
    shares = [1.0 if len(blocks) == 1 else 0.5, *(0.5 * len(block.targets) / unseen for block in blocks[1:])]

    def closure() -> float:
        shown.advance(0 if shown.done == shown.total else 1)
        optimizer.zero_grad()
        # a weak pull to the start: a few hundred users must not drive a number to infinity
        pull = PRIOR_WEIGHT * (numbers - start).square().sum()
        pull.backward()
        loss = float(pull.detach())
        for block, weight in zip(blocks, shares, strict=True):  # block by block: one block's scores at once in memory
            part = weight * _loss(fusion, block, numbers, cold_weight)
            part.backward()
            loss += float(part.detach())
        assert numbers.grad is not None
        numbers.grad.mul_(free)
        return loss

    with torch.enable_grad(), task("calibrate: weights, at most", steps * 5 // 4 + 1) as shown:  # L-BFGS's own limit
        try:
            optimizer.step(closure)
            reached = closure()
        except (RuntimeError, ValueError) as error:  # scores that are not finite, or a search that finds no way on
            say(f"warning: the mixture keeps its starting numbers, because calibrating failed: {error}")
            return math.nan
    if math.isfinite(reached) and bool(torch.isfinite(numbers).all()):
        fusion.numbers.copy_(numbers.detach())
    else:
        say("warning: the mixture keeps its starting numbers, because calibrating found no finite ones")
    return reached


def _loss(fusion: ScoreFusion, block: Block, numbers: Tensor, cold_weight: float) -> Tensor:
    """() weighted mean negative log-likelihood of a block's answers."""
    hidden = block.seen.clone()
    hidden[torch.arange(len(block.targets), device=hidden.device), block.targets] = False
    weights = torch.where(rarest(block.counts)[block.targets], cold_weight, 1.0)
    scores = fusion(*block.features, block.counts, numbers).masked_fill(hidden, -torch.inf)
    return (weights * functional.cross_entropy(scores, block.targets, reduction="none")).sum() / weights.sum()


@torch.no_grad()
def raise_unseen(fusion: ScoreFusion, blocks: Sequence[Block], steps: int = 12) -> float:
    """Raises the constant of items without events until they are placed, on average, no lower than by texts alone.

    What is most likely puts an item that nobody has chosen yet behind everything with a record, and then it never gets
    one. The blocks with hidden answers say where texts alone would place them (mean of ``1 / log2(1 + rank)``).

    Returns:
        The constant: 0 where the texts place them no higher.
    """
    hidden = [(block, torch.nonzero(block.counts[block.targets] == 0)[:, 0]) for block in blocks[1:]]
    hidden = [(block, indices) for block, indices in hidden if len(indices) and bool(block.features[2].any())]
    if not hidden:
        return 0.0
    goal = sum(_gain(block.features[2][indices], block, indices) for block, indices in hidden)
    low, high = 0.0, HIGHEST
    for step in track(range(steps), "calibrate: items without events"):
        middle = 0.0 if step == 0 else (low + high) / 2
        fusion.numbers[-1] = middle
        got = sum(
            _gain(fusion(*(part[indices] for part in block.features), block.counts), block, indices)
            for block, indices in hidden
        )
        if got >= goal:
            high = middle
            if step == 0:
                break
        else:
            low = middle
    fusion.numbers[-1] = high
    return high


def _gain(scores: Tensor, block: Block, indices: Tensor) -> float:
    """Sum of ``1 / log2(1 + rank)`` of the answers of some rows; ``scores``: (n, I)."""
    targets = block.targets[indices]
    own = scores.gather(1, targets[:, None])
    above = (scores > own) & ~block.seen[indices]
    return float((1 / torch.log2(above.sum(1) + 2.0)).sum())


def _block(batch: Questions, features: Ask, counts: Tensor) -> Block:
    hidden = torch.as_tensor(batch.hidden, device=counts.device)
    return Block(
        features(batch.queries, hidden),
        torch.where(hidden, 0.0, counts),
        torch.as_tensor(batch.targets, device=counts.device),
        seen_mask(batch.queries, len(counts)).to(counts.device),
    )


def rarest(counts: Tensor, fraction: float = COLD_SHARE) -> Tensor:
    """(I,) True for the given share of items with the fewest training events (ties: lower rows first)."""
    order = torch.argsort(counts, stable=True)
    out = torch.zeros(len(counts), dtype=torch.bool, device=counts.device)
    out[order[: int(round(fraction * len(counts), 6))]] = True  # 180 * 0.35 is 62.99... in binary
    return out
