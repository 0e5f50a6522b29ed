from __future__ import annotations

import numpy as np
import pytest
import torch

from interlingua.data.queries import Queries
from interlingua.injection import calibration
from interlingua.injection.calibration import Block, fit, questions, raise_unseen, rarest, without
from interlingua.injection.score_fusion import ScoreFusion, centred


def drawn(seed: int = 1, rows: int = 200, items: int = 30):
    generator = torch.Generator().manual_seed(seed)
    right, noise = torch.randn(rows, items, generator=generator), torch.randn(rows, items, generator=generator)
    targets = (3 * right).softmax(1).multinomial(1, generator=generator)[:, 0]
    return right, noise, targets, torch.zeros(rows, items, dtype=torch.bool)


def test_the_mixture_finds_the_source_that_is_right():
    right, noise, targets, seen = drawn()
    mixture = ScoreFusion()
    fit(mixture, [Block((noise, right, noise.flip(0)), torch.full((30,), 50.0), targets, seen)])
    assert float(mixture.numbers[1].exp()) == pytest.approx(3.0, abs=0.7)
    assert float(mixture.numbers[0].exp()) < 0.4


def test_a_heavier_weight_of_rare_answers_raises_rare_items():
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(300, 40, generator=generator)
    counts = torch.arange(40).float()
    targets = torch.where(
        torch.rand(300, generator=generator) < 0.1, torch.arange(300) % 10, 20 + torch.arange(300) % 20
    )
    block = Block((scores, scores, scores), counts, targets, torch.zeros(300, 40, dtype=torch.bool))
    means = []
    for weight in (1.0, 10.0):
        mixture = ScoreFusion()
        fit(mixture, [block], cold_weight=weight)
        out = mixture(scores, scores, scores, counts)
        means.append(float(out[:, rarest(counts)].mean() - out.mean()))
    assert means[1] > means[0] + 0.5


def test_hidden_items_lose_their_events_and_leave_the_histories():
    generator = np.random.default_rng(0)
    counts = np.append(np.full(99, 7.0), 0.0)
    queries = Queries.of([generator.choice(99, 12, replace=False).tolist() for _ in range(80)])
    targets = generator.integers(0, 99, 80)
    plain, *copies = questions(queries, targets, counts)
    assert len(plain.queries) == 80
    assert not plain.hidden.any()
    assert len(copies) == len(calibration.SHARES)
    for copy, share in zip(copies, calibration.SHARES, strict=True):
        assert copy.hidden.sum() == pytest.approx(99 * share, abs=15)
        assert not copy.hidden[99]  # nothing to hide of an item without events
        assert not copy.hidden[copy.queries.items].any()
        assert copy.hidden[copy.targets].any()  # answers without events, which leave-one-out hardly has
        assert copy.queries.lengths().min() > 0
    again = questions(queries, targets, counts)[1]
    assert np.array_equal(again.hidden, copies[0].hidden)
    assert np.array_equal(again.queries.items, copies[0].queries.items)


def test_items_are_taken_out_of_histories_in_place():
    hidden = np.zeros(6, bool)
    hidden[[1, 4]] = True
    left = without(Queries.of([[1, 2, 4, 3], [4], [], [5, 0]]), hidden)
    assert [left.history(row).tolist() for row in range(4)] == [[2, 3], [], [], [5, 0]]


def world(unseen_answers: float, seed: int = 3):
    """Texts know something, the backbone much; the first ten of forty items have no events."""
    generator = torch.Generator().manual_seed(seed)
    rows, items = 400, 40
    text = torch.randn(rows, items, generator=generator)
    taste = 2.0 * torch.randn(rows, items, generator=generator)
    unseen = torch.arange(items) < 10
    counts = torch.where(unseen, 0.0, 40.0)
    want = text + taste
    asks_unseen = torch.rand(rows, generator=generator) < unseen_answers
    allowed = torch.where(asks_unseen[:, None], unseen[None], ~unseen[None])
    targets = want.masked_fill(~allowed, -torch.inf).softmax(1).multinomial(1, generator=generator)[:, 0]
    backbone = torch.where(unseen, torch.randn(rows, items, generator=generator), taste)
    parts = (torch.zeros(rows, items), centred(backbone), centred(text))
    return Block(parts, counts, targets, torch.zeros(rows, items, dtype=torch.bool))


def place(scores, block):
    rows = torch.nonzero(block.counts[block.targets] == 0)[:, 0]
    return calibration._gain(scores[rows], block, rows) / len(rows)


def test_calibrated_on_items_with_events_alone_an_item_without_any_never_comes_out():
    """The fault that hidden items mend: no answer of the plain questions is without events."""
    plain, real = world(0.0), world(0.25, seed=4)
    blind, taught = ScoreFusion(), ScoreFusion()
    fit(blind, [plain])
    fit(taught, [plain, world(0.25, seed=5)])
    by_text = place(real.features[2], real)
    assert place(blind(*real.features, real.counts), real) < 0.75 * by_text
    assert place(taught(*real.features, real.counts), real) > place(blind(*real.features, real.counts), real) + 0.05


def test_items_without_events_are_placed_no_lower_than_by_texts_alone():
    hidden, real = world(0.05, seed=5), world(0.05, seed=6)
    mixture = ScoreFusion()
    fit(mixture, [world(0.0), hidden])
    before = place(mixture(*hidden.features, hidden.counts), hidden)
    by_text = place(hidden.features[2], hidden)
    assert before < by_text  # so rare as answers that what is most likely puts them behind
    constant = raise_unseen(mixture, [world(0.0), hidden])
    assert constant > 0
    after = place(mixture(*hidden.features, hidden.counts), hidden)
    assert by_text <= after < by_text + 0.02  # as high as texts, and no higher
    assert place(mixture(*real.features, real.counts), real) > place(real.features[2], real) - 0.08
    seen = hidden.counts > 0
    raised = mixture(*hidden.features, hidden.counts)
    mixture.numbers[-1] = 0.0
    assert torch.equal(raised[:, seen], mixture(*hidden.features, hidden.counts)[:, seen])


def test_without_texts_nothing_is_raised():
    block = world(0.1)
    mute = Block((*block.features[:2], torch.zeros_like(block.features[2])), block.counts, block.targets, block.seen)
    mixture = ScoreFusion()
    assert raise_unseen(mixture, [mute, mute]) == 0.0
    assert float(mixture.numbers[-1]) == 0.0


def test_numbers_that_cannot_be_found_leave_the_start(capsys):
    right, noise, targets, seen = drawn()
    mixture = ScoreFusion()
    start = mixture.numbers.clone()
    fit(mixture, [Block((noise * torch.nan, right, noise), torch.full((30,), 5.0), targets, seen)])
    assert torch.equal(mixture.numbers, start)
    assert "keeps its starting numbers" in capsys.readouterr().err


def test_a_mixture_of_five_numbers_is_read_as_it_was_written():
    old = {"numbers": torch.tensor([-1.5, 0.2, -0.4, 1.0, 0.3])}
    mixture = ScoreFusion()
    mixture.load_state_dict(old)
    assert torch.equal(mixture.numbers[:5], old["numbers"])
    assert not mixture.numbers[5:].any()
