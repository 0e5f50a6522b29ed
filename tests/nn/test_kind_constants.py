"""Constants for kinds of items: ranks under them against a direct count, and what the search finds."""

from __future__ import annotations

import torch

from interlingua.nn import conditional_logit as logit
from interlingua.nn.conditional_logit import MIDDLE, OTHER, RARE, Block, Known
from interlingua.nn.kind_constants import Placed, balanced, measured

ITEMS = 60


def block(seed: int, questions: int = 30, uniform: int = 12, plain: bool = True) -> tuple[Block, torch.Tensor]:
    """Questions over a sample of rivals of different widths, some of them level with the answer."""
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, questions, ITEMS, generator=draw).mul(2).round() / 2
    answers = torch.randint(ITEMS, (questions,), generator=draw)
    seen = torch.rand(questions, ITEMS, generator=draw) < 0.2
    rivals = logit.choose_rivals(scores, answers, seen, draw, 3 + seed, uniform)
    known = Known(torch.zeros(ITEMS), torch.arange(ITEMS) % 4).at(rivals.items)
    gathered = torch.stack([member.gather(1, rivals.items) for member in scores])
    return Block(gathered, known, torch.zeros(questions), rivals, 1.0, plain), gathered.sum(0)


def test_ranks_under_constants_are_those_of_a_direct_count() -> None:
    made = [block(0), block(1, plain=False), block(2, uniform=ITEMS)]
    blocks, utility = [each for each, _ in made], [each for _, each in made]
    placed = Placed(utility, blocks)
    for constants in ([0.0, 0.0, 0.0, 0.0], [0.5, -1.0, 2.0, 0.0], [-3.0, 0.25, 0.5, 0.0]):
        own = torch.tensor(constants)
        expected = torch.cat(
            [logit.ranks(u + own[b.known.kinds], b.rivals) for u, b in zip(utility, blocks, strict=True)]
        )
        torch.testing.assert_close(placed.ranks(own), expected)
        values = measured(expected)
        by_kind, plain = placed.measures(own)
        torch.testing.assert_close(by_kind[RARE], values[placed.kinds == RARE].sum(0))
        torch.testing.assert_close(plain, torch.cat([values[:30], values[60:]]).sum(0))
    assert placed.plain.tolist() == [True] * 30 + [False] * 30 + [True] * 30


def test_measures_by_hand() -> None:
    expected = [[1.0, 1.0, 1.0], [1 / 4, 0.0, 1.0], [1 / torch.log2(torch.tensor(102.0)).item(), 0.0, 0.0]]
    torch.testing.assert_close(measured(torch.tensor([1.0, 15.0, 101.0])), torch.tensor(expected))


def test_kinds_that_must_rise_together_do() -> None:
    """Rare and middling items both stand behind warm ones; to raise one of them alone would push the other down."""
    draw = torch.Generator().manual_seed(3)
    questions, kinds = 240, torch.arange(ITEMS) % 3 + 1  # no unseen items
    answers = torch.randint(ITEMS, (questions,), generator=draw)
    single = torch.randn(questions, ITEMS, generator=draw)
    single[torch.arange(questions), answers] += 2.0  # a member that knows
    height = torch.tensor([0.0, -2.0, -2.0, 0.0])[kinds]  # the sum has it, but warm items first
    rivals = logit.choose_rivals(single[None], answers, torch.zeros(questions, ITEMS, dtype=torch.bool), draw, 5, ITEMS)
    known = Known(torch.zeros(ITEMS), kinds).at(rivals.items)
    own = single.gather(1, rivals.items)
    asked = Block(own[None], known, torch.zeros(questions), rivals, 1.0)
    found = balanced([own + height[rivals.items]], [[own]], [asked])
    assert found[OTHER] == 0
    assert 1.5 < found[RARE] < 2.6
    assert 1.5 < found[MIDDLE] < 2.6


def test_kinds_rise_where_no_answer_is_among_the_first_ten() -> None:
    """NDCG@10 of the questions as they are is 0 then, and nothing may be divided by it."""
    draw = torch.Generator().manual_seed(5)
    questions, kinds = 240, torch.full((ITEMS,), RARE)
    kinds[::2] = OTHER
    rare = torch.nonzero(kinds == RARE)[:, 0]
    answers = rare[torch.randint(len(rare), (questions,), generator=draw)]
    single = torch.randn(questions, ITEMS, generator=draw)
    single[torch.arange(questions), answers] += 2.0
    rivals = logit.choose_rivals(single[None], answers, torch.zeros(questions, ITEMS, dtype=torch.bool), draw, 5, ITEMS)
    own, known = single.gather(1, rivals.items), Known(torch.zeros(ITEMS), kinds).at(rivals.items)
    far = own + torch.tensor([0.0, -4.0, 0.0, 0.0])[kinds][rivals.items]  # behind nearly all 30 others
    far.scatter_add_(1, rivals.answer[:, None], torch.full((questions, 1), -1.0))
    block = Block(own[None], known, torch.zeros(questions), rivals, 1.0)
    assert Placed([far], [block]).measures(torch.zeros(4))[1][1] == 0
    found = balanced([far], [[own]], [block])
    assert found[RARE] > 3
