"""Fused InfoNCE beside the plain formula: values, gradients, multiplicities, extremes."""

from __future__ import annotations

import math

import pytest
import torch

from interlingua.nn import contrast
from interlingua.nn.contrast import anchors_of, distinct, infonce, log_partition, unit


def plain(a: torch.Tensor, p: torch.Tensor, c: torch.Tensor, temperature: float) -> torch.Tensor:
    """RLMRec's formula, written out."""
    a, p, c = (x / torch.sqrt(1e-8 + x.square().sum(-1, keepdim=True)) for x in (a, p, c))
    return (-(a * p).sum(-1) / temperature + torch.log(torch.exp(a @ c.T / temperature).sum(-1))).mean()


def test_two_anchors_by_hand() -> None:
    """Unit axes: cosines 1 and 0, so the loss is log(e^2 + 1) - 2 at temperature 1/2."""
    axes = torch.eye(2)
    assert float(infonce(axes, axes, temperature=0.5)) == pytest.approx(math.log(math.e**2 + 1) - 2, abs=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_equal_to_the_plain_formula_in_any_chunks(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(contrast, "CHUNK_ELEMENTS", rows * 11)
    a, p, c = torch.randn(7, 4), torch.randn(7, 4), torch.randn(11, 4)
    ours, theirs = [t.clone().requires_grad_() for t in (a, p, c)], [t.clone().requires_grad_() for t in (a, p, c)]
    mine = infonce(*ours, temperature=0.3)
    slow = plain(*theirs, 0.3)
    assert float(mine) == pytest.approx(float(slow), abs=1e-5)
    grads = zip(torch.autograd.grad(mine, ours), torch.autograd.grad(slow, theirs), strict=True)
    assert all(torch.allclose(g, s, atol=1e-5) for g, s in grads)


def test_repeated_rows_computed_once_are_the_same_loss() -> None:
    """In the batch: repeated anchors count again, and so do repeated candidates."""
    torch.manual_seed(1)
    table, texts = torch.randn(6, 3), torch.randn(6, 3)
    rows = torch.tensor([4, 1, 4, 4, 0, 1])
    nodes, counts = distinct(rows)
    assert nodes.tolist() == [0, 1, 4]
    assert counts.tolist() == [1.0, 2.0, 3.0]
    left, right = (t.clone().requires_grad_() for t in (table, texts))
    slow = plain(left[rows], right[rows], right[rows], 0.2)
    far, near = (t.clone().requires_grad_() for t in (table, texts))
    fast = infonce(far[nodes], near[nodes], temperature=0.2, anchor_weights=counts, counts=counts)
    assert float(fast) == pytest.approx(float(slow), abs=1e-5)
    for a, b in zip(torch.autograd.grad(slow, (left, right)), torch.autograd.grad(fast, (far, near)), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_products_far_beyond_exp_do_not_overflow() -> None:
    anchors = torch.tensor([[200.0, 0.0], [0.0, -300.0]], requires_grad=True)
    candidates = torch.tensor([[1.0, 1.0], [2.0, -1.0]])
    value = log_partition(anchors, candidates)
    assert float(value) == pytest.approx(400.0 + 300.0)
    (grad,) = torch.autograd.grad(value, anchors)
    assert torch.allclose(grad, torch.tensor([[2.0, -1.0], [2.0, -1.0]]))


def test_weights_and_counts_of_the_partition() -> None:
    a, c = torch.randn(3, 2), torch.randn(4, 2)
    w, m = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([1.0, 3.0, 1.0, 2.0])
    expected = (w * torch.log((m * torch.exp(a @ c.T)).sum(1))).sum()
    assert torch.allclose(log_partition(a, c, weights=w, counts=m), expected, atol=1e-5)


def test_a_zero_row_stays_zero() -> None:
    assert torch.equal(unit(torch.zeros(2, 3)), torch.zeros(2, 3))
    assert torch.allclose(unit(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.6, 0.8]]), atol=1e-6)


def test_drawn_anchors_give_the_same_loss_in_expectation() -> None:
    """The mean over many draws comes near the exact loss, with and without repeats; a large limit is exact."""
    torch.manual_seed(3)
    table, texts = torch.randn(30, 3), torch.randn(30, 3)
    rows = torch.randint(30, (80,)) ** 2 // 30
    for repeats in (True, False):

        def loss(limit: int | None, repeats: bool = repeats) -> float:
            nodes, weights = anchors_of(rows, limit, repeats)
            return float(infonce(table[nodes], texts[nodes], texts, temperature=0.5, anchor_weights=weights))

        exact = loss(None)
        assert loss(10_000) == pytest.approx(exact)
        draws = torch.tensor([loss(8) for _ in range(2000)])
        assert float(draws.std()) > 0.05  # something is drawn
        assert float(draws.mean()) == pytest.approx(exact, abs=4 * float(draws.std()) / 2000**0.5)
