"""A conditional logit over a catalogue, learned on a sample of each query's candidates (rivals).

Shape key: M members, N questions, I items, C rivals of a question (its answer among them).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

UNSEEN, RARE, MIDDLE, OTHER = 0, 1, 2, 3
"""kinds of items: without events; the rarest of those that have some; those between; those with most events"""
RARE_SHARE, WARM_SHARE = 0.35, 0.35
"""of the catalogue, by training events, as in the slices"""
HARD, UNIFORM = 30, 300
"""rivals of a question: the best of every member, and so many at random of all others"""
STEPS = 80
"""of L-BFGS"""


@dataclass(frozen=True)
class Rivals:
    """For each question, its answer and the items to compare it with."""

    items: Tensor
    """(N, C) rows"""
    log_weights: Tensor
    """(N, C) how many items each stands for, as a logarithm; -inf where a row of C is not filled"""
    answer: Tensor
    """(N,) column of the answer"""

    def of(self, indices: Tensor) -> Rivals:
        """Those of some questions."""
        return Rivals(self.items[indices], self.log_weights[indices], self.answer[indices])


@dataclass(frozen=True)
class Known:
    """Standardised facts about items, on which a logit's weights depend."""

    record: Tensor
    """(I,) or (N, C) log of one more than the number of events, mean 0 and spread 1 over the catalogue"""
    kinds: Tensor
    """(I,) or (N, C): :data:`UNSEEN`, :data:`RARE`, :data:`MIDDLE` or :data:`OTHER`"""

    def at(self, items: Tensor) -> Known:
        """The same for some items."""
        return Known(self.record[items], self.kinds[items])


@dataclass(frozen=True)
class Block:
    """Questions that are asked together."""

    scores: Tensor
    """(M, N, C) standardised scores of the members"""
    known: Known
    users: Tensor
    """(N,) standardised log of the length of the user's history"""
    rivals: Rivals
    weight: float
    """weight of the block relative to the others"""
    plain: bool = True
    """no item is hidden"""


def known_of(counts: Tensor, hidden: Tensor | None = None) -> Known:
    """Facts about items from their numbers of events.

    Args:
        counts: (I,) training events; they set the scale.
        hidden: (I,) bool: items that count as without events.
    """
    record = torch.log1p(counts)
    spread = (record.std() if len(record) > 1 else record.new_ones(())).clamp(min=1e-6)
    own = counts if hidden is None else torch.where(hidden, 0.0, counts)
    kinds, order = torch.full((len(counts),), MIDDLE), torch.argsort(counts, stable=True)
    kinds[order[: int(round(RARE_SHARE * len(counts), 6))]] = RARE
    kinds[order[len(counts) - int(round(WARM_SHARE * len(counts), 6)) :]] = OTHER
    kinds[own == 0] = UNSEEN
    return Known((torch.log1p(own) - record.mean()) / spread, kinds)


def with_new(counts: Tensor, added: int) -> Known:
    """:func:`known_of` the items, and behind them so many without an event that came later, in the same units."""
    known = known_of(counts)
    own = torch.log1p(counts)
    spread = (own.std() if len(own) > 1 else own.new_ones(())).clamp(min=1e-6)
    record = (-own.mean() / spread).expand(added)
    return Known(torch.cat([known.record, record]), torch.cat([known.kinds, known.kinds.new_full((added,), UNSEEN)]))


def hidden_items(counts: Tensor, fractions: Sequence[float]) -> list[Tensor]:
    """(I,) bool each: none, and for each share so many of the items with events; the same ones every time."""
    generator = torch.Generator().manual_seed(0)
    drawn = [(torch.rand(len(counts), generator=generator) < fraction) & (counts > 0) for fraction in fractions]
    return [torch.zeros(len(counts), dtype=torch.bool), *drawn]


def standardised(scores: Tensor, unseen: Tensor | None, neutral: Tensor) -> Tensor:
    """(N, I) scores with mean 0 and spread 1 over the catalogue, question by question.

    Args:
        scores: (N, I).
        unseen: (N, I) what the same member says of items without events, on the same scale; None: nothing, which
            becomes 0, as it says of an average item.
        neutral: (I,) items that count as without events.
    """
    mean, spread = scores.mean(1, keepdim=True), scores.std(1, keepdim=True, correction=0)
    spread = torch.where(spread > 0, spread, 1.0)
    own = (scores - mean) / spread
    other = torch.zeros_like(own) if unseen is None else (unseen - mean) / spread
    return torch.where(neutral[None, :], other, own)


def choose_rivals(
    scores: Tensor, answers: Tensor, seen: Tensor, generator: torch.Generator, hard: int = HARD, uniform: int = UNIFORM
) -> Rivals:
    """The answer, every member's best items, and some of the rest at random that stand for all of it.

    The sum over rivals, each as often as its weight says, is an unbiased estimate of the sum over all items that the
    user has not had, and exact where items are few.

    Args:
        scores: (M, N, I).
        answers: (N,) rows.
        seen: (N, I) items that cannot come out.
        generator: of the random ones.
        hard: best items of each member.
        uniform: random items.
    """
    number, items = seen.shape
    blocked = seen.clone()
    blocked[torch.arange(number), answers] = False
    chosen = torch.zeros_like(blocked)
    for member in scores:
        best = member.masked_fill(blocked, -torch.inf).topk(min(hard, items), dim=1).indices
        chosen.scatter_(1, best, True)
    chosen[torch.arange(number), answers] = True
    chosen &= ~blocked
    rest = ~(chosen | blocked)
    drawn = torch.rand(number, items, generator=generator).masked_fill(~rest, 2.0)
    values, at = drawn.topk(min(uniform, items), dim=1, largest=False)
    filled = values < 2.0
    weights = (rest.sum(1).float() / filled.sum(1).clamp(min=1)).log()
    width = int(chosen.sum(1).max()) if number else 0
    first = torch.argsort((~chosen).int(), dim=1, stable=True)[:, :width]
    held = chosen.gather(1, first)
    log_weights = torch.cat(
        [
            torch.where(held, 0.0, -torch.inf),
            torch.where(filled, weights[:, None], -torch.inf),
        ],
        dim=1,
    )
    answer = (first == answers[:, None]).float().argmax(1)
    return Rivals(torch.cat([first, at], 1), log_weights, answer)


def utilities(numbers: Tensor, scores: Tensor, known: Known, users: Tensor) -> Tensor:
    """(N, C) ``sum_m w_m s_m + c``; ``w_m = a_m + b_m record + e_m unseen + d_m user``, ``c`` of record and unseen.

    Args:
        numbers: (4 M + 2,) a, b, e, d, and two of c.
        scores: (M, N, C).
        known: of the items, (C,) or (N, C).
        users: (N,).
    """
    members, unseen = len(scores), (known.kinds == UNSEEN).float()
    a, b, e, d = (numbers[at * members : (at + 1) * members] for at in range(4))
    out = torch.einsum("mnc,mn->nc", scores, a[:, None] + d[:, None] * users[None, :])
    out = out + torch.einsum("mnc,m->nc", scores, b) * known.record
    out = out + torch.einsum("mnc,m->nc", scores, e) * unseen
    return out + numbers[4 * members] * known.record + numbers[4 * members + 1] * unseen


def plain(members: int, extra: int = 0) -> Tensor:
    """(4 (M + E) + 2,) the numbers of a plain sum: every member counts the same, whatever is known; extra scores 0."""
    numbers = torch.zeros(4 * (members + extra) + 2)
    numbers[:members] = 1.0 / members
    return numbers


def bent(scores: Tensor, bend: float) -> Tensor:
    """(2 M, N, C) the scores, and by how much each is above ``bend``; (M, N, C) as they are if that is 0.

    What a member puts far above all else is worth more than in proportion, and each member learns how much.
    """
    return scores if not bend else torch.cat([scores, (scores - bend).clamp(min=0)])


def learn(
    blocks: Sequence[Block], free: Tensor, start: Tensor, pull: float, advance: Callable[[], None] = lambda: None,
    steps: int = STEPS,
) -> Tensor:  # fmt: skip
    """(4 M + 2,) numbers that make the answers most likely, drawn to those of the start.

    Args:
        blocks: questions.
        free: (4 M + 2,) bool: which numbers are learned; the others stay those of the start.
        start: (4 M + 2,), e.g. :func:`plain`.
        pull: of the squared distance from the start, beside the mean negative log-likelihood.
        advance: called after each evaluation.
        steps: of L-BFGS at most.

    Raises:
        ArithmeticError: the search left the finite numbers.
    """
    numbers = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([numbers], max_iter=steps, line_search_fn="strong_wolfe")
    total = sum(block.weight for block in blocks)

    def closure() -> float:
        advance()
        optimizer.zero_grad()
        loss = pull * (numbers - start).square().sum()
        loss.backward()
        value = float(loss.detach())
        for block in blocks:
            utility = utilities(numbers, block.scores, block.known, block.users) + block.rivals.log_weights
            part = block.weight / total * functional.cross_entropy(utility, block.rivals.answer)
            part.backward()
            value += float(part.detach())
        assert numbers.grad is not None
        numbers.grad.masked_fill_(~free, 0.0)
        return value

    with torch.enable_grad():
        optimizer.step(closure)
    found = numbers.detach()
    if not bool(torch.isfinite(found).all()):
        raise ArithmeticError("the weights of the members ran off to infinity")
    return found


def ranks(utility: Tensor, rivals: Rivals) -> Tensor:
    """(N,) ranks of the answers from 1 on, estimated from the rivals and what each stands for; of equals the middle."""
    own = utility.gather(1, rivals.answer[:, None])
    weights = rivals.log_weights.exp()
    above = torch.where(utility > own, weights, 0.0).sum(1)
    level = torch.where(utility == own, weights, 0.0).sum(1) - 1
    return above + level.clamp(min=0) / 2 + 1
