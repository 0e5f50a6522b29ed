"""Hand-worked numbers, agreement with plain formulas, gradients and invariances of the training losses."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from interlingua.nn import losses


def test_bpr_by_hand():
    # -log sigmoid(2 - 0) = log(1 + e^-2); -log sigmoid(0 - 1) = log(1 + e)
    value = losses.bpr(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0]))
    assert value.item() == pytest.approx((math.log1p(math.exp(-2)) + math.log1p(math.e)) / 2, rel=1e-6)


def test_bpr_of_several_negatives_is_the_mean_over_pairs():
    positive, negative = torch.tensor([1.0, -1.0]), torch.tensor([[0.0, 2.0], [3.0, -1.0]])
    pairs = [losses.bpr(positive[i : i + 1], negative[i, j : j + 1]) for i in range(2) for j in range(2)]
    assert losses.bpr(positive, negative).item() == pytest.approx(sum(p.item() for p in pairs) / 4, rel=1e-6)


def test_bce_by_hand():
    value = losses.bce(torch.tensor([0.0, math.log(3)]), torch.tensor([0.0, -math.log(3)]))
    # sigmoid(0) = 1/2 and sigmoid(log 3) = 3/4 on both sides
    assert value.item() == pytest.approx(2 * (math.log(2) + math.log(4 / 3)) / 2, rel=1e-6)


def test_cross_entropy_of_rows_whose_first_is_positive_by_hand():
    scores = torch.tensor([[1.0, 0.0, -2.0], [0.0, 3.0, 0.0]])
    each = [math.log1p(math.exp(x)) for x in (-1.0, 0.0, -2.0, 0.0, 3.0, 0.0)]
    assert losses.first_is_positive(scores).item() == pytest.approx(sum(each) / 6)
    weights = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    assert losses.first_is_positive(scores, weights).item() == pytest.approx(
        (each[0] + each[2] + each[3] + each[4]) / 6
    )


def test_sampled_softmax_by_hand():
    value = losses.sampled_softmax(torch.tensor([math.log(2)]), torch.tensor([[0.0, 0.0]]))
    assert value.item() == pytest.approx(-math.log(2 / 4), rel=1e-6)
    # 9 items, 2 negatives: each negative stands for 4 items
    value = losses.sampled_softmax(torch.tensor([math.log(2)]), torch.tensor([[0.0, 0.0]]), num_items=9)
    assert value.item() == pytest.approx(-math.log(2 / 10), rel=1e-6)


def test_sampled_softmax_with_all_other_items_is_the_full_softmax():
    torch.manual_seed(0)
    states, table = torch.randn(5, 4), torch.randn(7, 4)
    targets = torch.tensor([0, 6, 3, 3, 1])
    scores = states @ table.T
    others = torch.stack([torch.cat([scores[n, :t], scores[n, t + 1 :]]) for n, t in enumerate(targets)])
    sampled = losses.sampled_softmax(scores.gather(1, targets[:, None])[:, 0], others, num_items=7)
    torch.testing.assert_close(sampled, losses.full_softmax(states, table, targets))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(2, 30), st.integers(1, 9), st.booleans(), st.integers(0, 999))
def test_full_softmax_and_its_gradients_equal_the_plain_formula(rows, items, dim, with_bias, seed):
    torch.manual_seed(seed)
    states, table = torch.randn(rows, dim, dtype=torch.float64), torch.randn(items, dim, dtype=torch.float64) * 3
    bias = torch.randn(items, dtype=torch.float64) if with_bias else None
    targets = torch.randint(items, (rows,))
    plain_in = [t.clone().float().requires_grad_() for t in (states, table)] + (
        [bias.float().requires_grad_()] if with_bias else []
    )
    ours_in = [t.detach().clone().requires_grad_() for t in plain_in]
    logits = plain_in[0] @ plain_in[1].T + (plain_in[2] if with_bias else 0)
    plain = functional.cross_entropy(logits, targets)
    old, losses.CHUNK_ELEMENTS = losses.CHUNK_ELEMENTS, 3 * items  # several chunks, the last one ragged
    try:
        ours = losses.full_softmax(ours_in[0], ours_in[1], targets, ours_in[2] if with_bias else None)
    finally:
        losses.CHUNK_ELEMENTS = old
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)
    (plain * 2.5).backward()
    (ours * 2.5).backward()
    for a, b in zip(ours_in, plain_in, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5)


def test_full_softmax_survives_huge_logits():
    states = torch.tensor([[1000.0], [-1000.0]], requires_grad=True)
    table = torch.tensor([[1.0], [-1.0]])
    loss = losses.full_softmax(states, table, torch.tensor([0, 0]))
    loss.backward()
    assert loss.item() == pytest.approx(1000.0)  # (0 + 2000) / 2
    assert torch.isfinite(states.grad).all()


def test_full_softmax_under_autocast_is_close():
    torch.manual_seed(0)
    states, table = torch.randn(40, 8, requires_grad=True), torch.randn(20, 8, requires_grad=True)
    targets = torch.randint(20, (40,))
    exact = losses.full_softmax(states, table, targets)
    wanted = torch.autograd.grad(exact, (states, table))
    with torch.autocast("cpu", torch.bfloat16):
        rough = losses.full_softmax(states, table, targets)
    got = torch.autograd.grad(rough, (states, table))
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0.02)
    for a, b in zip(got, wanted, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.02 * b.norm()


def test_full_softmax_of_no_rows_is_zero():
    assert losses.full_softmax(torch.zeros(0, 3), torch.zeros(4, 3), torch.zeros(0, dtype=torch.long)).item() == 0.0


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5))
def test_ranking_losses_ignore_a_common_shift(positive, negative, shift):
    p, n = torch.tensor([positive]), torch.tensor([[negative, negative + 1]])
    assert losses.bpr(p + shift, n + shift).item() == pytest.approx(losses.bpr(p, n).item(), abs=1e-4)
    assert losses.sampled_softmax(p + shift, n + shift).item() == pytest.approx(
        losses.sampled_softmax(p, n).item(), abs=1e-4
    )


def test_shared_softmax_estimates_the_partition_function_without_bias():
    generator = torch.Generator().manual_seed(1)
    states, table = torch.randn(5, 4, generator=generator).double(), torch.randn(40, 4, generator=generator).double()
    targets = torch.tensor([3, 7, 7, 0, 39])
    scores = states @ table.T
    torch.manual_seed(0)
    # exp(loss of one row) * exp(score of its target) is the estimate of its partition function
    found = torch.stack(
        [
            torch.stack([losses.shared_softmax(states[n : n + 1], table, targets[n : n + 1], 8) for n in range(5)])
            for _ in range(4000)
        ]
    )
    estimates = (found + scores[torch.arange(5), targets]).exp()
    error = estimates.std(0) / 4000**0.5
    assert ((estimates.mean(0) - scores.exp().sum(1)).abs() < 4 * error).all()
    assert (error < 0.05 * scores.exp().sum(1)).all()


def test_shared_softmax_by_hand(monkeypatch):
    states, table = torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [0.5, 0.5], [0.0, 0.0]])
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor([0, 3, 3]))  # 0 is a target: left out
    value = losses.shared_softmax(states, table, torch.tensor([2, 0]), 3)
    # targets 0 and 2 count once; item 3, drawn twice, stands for the three others with (5 - 2) / 2 each
    first = math.log(math.exp(1) + math.exp(3) + 3 * math.exp(0.5)) - 3
    second = math.log(math.exp(0) + math.exp(1) + 3 * math.exp(0.5)) - 0
    assert value.item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_shared_softmax_of_all_items_is_the_full_softmax():
    states, table, targets = torch.randn(6, 3), torch.randn(6, 3, requires_grad=True), torch.arange(6)
    shared, full = losses.shared_softmax(states, table, targets, 10), losses.full_softmax(states, table, targets)
    torch.testing.assert_close(shared, full)
    gradients = [torch.autograd.grad(each, table)[0] for each in (shared, full)]
    torch.testing.assert_close(*gradients)
