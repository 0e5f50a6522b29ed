from __future__ import annotations

import math

import pytest
import torch

from interlingua.nn.retrieval_losses import (
    in_batch_bpr,
    in_batch_distillation,
    in_batch_softmax,
    layer_alignment,
    tower_scores,
)

SCORES = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0], [1.0, 1.0, 1.0]])
ALL = ~torch.eye(3, dtype=torch.bool)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_bpr_compares_a_users_item_with_every_allowed_one():
    pairs = [1 - 2, 0 - 2, 0 - 1, 3 - 1, 0, 0]  # negative minus own, row by row
    assert float(in_batch_bpr(SCORES, ALL)) == pytest.approx(sum(map(softplus, pairs)) / 6)
    some = ALL.clone()
    some[1, 2] = False  # user 1 has item 2
    assert float(in_batch_bpr(SCORES, some)) == pytest.approx(sum(map(softplus, [-1, -2, -1, 0, 0])) / 5)
    assert float(in_batch_bpr(SCORES, torch.zeros(3, 3, dtype=torch.bool))) == 0.0


def test_softmax_over_the_allowed_items_of_the_batch():
    e = math.exp
    rows = [
        -2 + math.log(e(2) + e(1) + e(0)),
        -1 + math.log(e(0) + e(1) + e(3)),
        math.log(3),
    ]
    assert float(in_batch_softmax(SCORES, ALL)) == pytest.approx(sum(rows) / 3)
    some = ALL.clone()
    some[1, 2] = False
    rows[1] = -1 + math.log(e(0) + e(1))
    assert float(in_batch_softmax(SCORES, some)) == pytest.approx(sum(rows) / 3)


def test_the_correction_takes_off_what_frequency_adds():
    chance = torch.log(torch.tensor([0.5, 0.25, 0.25]))
    got = float(in_batch_softmax(torch.zeros(3, 3), ALL, chance))
    # logits -log p: weights 2, 4, 4
    assert got == pytest.approx((math.log(10 / 2) + 2 * math.log(10 / 4)) / 3)


def test_distillation_is_the_cross_entropy_with_the_other_models_choice():
    """Row 0 by hand; what is barred counts on neither side; the least value is the other model's entropy."""
    taught = torch.tensor([[math.log(3.0), 0.0, 0.0], [0.0, 0.0, 0.0], [5.0, 5.0, 5.0]])
    e = math.exp
    total = math.log(e(2) + e(1) + e(0))
    rows = [
        0.6 * (total - 2) + 0.2 * (total - 1) + 0.2 * total,
        math.log(e(0) + e(1) + e(3)) - 4 / 3,
        math.log(3),
    ]
    assert float(in_batch_distillation(SCORES, taught, ALL)) == pytest.approx(sum(rows) / 3)
    some = ALL.clone()
    some[1, 2] = False
    rows[1] = math.log(e(0) + e(1)) - 1 / 2
    scores = SCORES.clone().requires_grad_()
    loss = in_batch_distillation(scores, taught, some)
    assert float(loss.detach()) == pytest.approx(sum(rows) / 3)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert float(gradient[1, 2]) == 0.0
    least = torch.tensor(taught.tolist())
    entropy = -(torch.softmax(taught, 1) * torch.log_softmax(taught, 1)).sum(1).mean()
    assert float(in_batch_distillation(least, taught, ALL)) == pytest.approx(float(entropy))


def test_distillation_takes_the_correction_off_both_sides():
    chance = torch.log(torch.tensor([0.5, 0.25, 0.25]))
    got = float(in_batch_distillation(torch.zeros(3, 3), torch.zeros(3, 3), ALL, chance))
    weights = [0.2, 0.4, 0.4]
    assert got == pytest.approx(-sum(w * math.log(w) for w in weights))


def test_alignment_is_infonce_in_every_layer():
    """Two rows, two layers, t = 0.5: layer 0 right angles, layer 1 the two rows exchanged."""
    prompts = torch.tensor([[[2.0, 0.0], [1.0, 0.0]], [[0.0, 5.0], [0.0, 1.0]]])
    texts = torch.tensor([[[1.0, 0.0], [0.0, 3.0]], [[0.0, 1.0], [4.0, 0.0]]])
    right = math.log(math.exp(2) + 1) - 2
    wrong = math.log(math.exp(2) + 1)
    assert float(layer_alignment(prompts, texts, 0.5)) == pytest.approx(right + wrong, rel=1e-5)
    same = torch.ones(2, 2, dtype=torch.bool)  # the same item twice is no alternative to itself
    assert float(layer_alignment(prompts, texts, 0.5, same)) == pytest.approx(0.0, abs=1e-6)


def test_scores_are_dot_products_or_cosines():
    users, items = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert tower_scores(users, items, temperature=2.0).tolist() == [[1.5, 4.0]]
    assert tower_scores(users, items, normalised=True, temperature=0.5).tolist() == [
        [pytest.approx(1.2), pytest.approx(1.6)]
    ]
