"""Losses over distinct rows are those of the batch with its copies written out, each by its own definition."""

from __future__ import annotations

import torch
from torch.nn import functional

from interlingua.nn.repeated import repeated_barlow_twins, repeated_infonce

COUNTS = torch.tensor([1, 3, 2, 1, 5])


def rows(seed: int) -> torch.Tensor:
    return torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_infonce_of_distinct_rows_is_that_of_all_copies() -> None:
    left, right = rows(0).requires_grad_(), rows(1)
    items = torch.arange(5).repeat_interleave(COUNTS)
    total = torch.zeros((), dtype=torch.float64)
    for place, item in enumerate(items):  # each copy by hand: itself against every copy of the other items
        others = [other for other in range(len(items)) if other == place or items[other] != item]
        cosines = torch.stack(
            [functional.cosine_similarity(left[item], right[items[other]], dim=0) for other in others]
        )
        total = total - (cosines / 0.05).log_softmax(0)[others.index(place)]
    expected = total / len(items)
    made = repeated_infonce(left, right, COUNTS.double(), 0.05)
    assert torch.allclose(made, expected)
    (by_hand,) = torch.autograd.grad(expected, left, retain_graph=True)
    assert torch.allclose(torch.autograd.grad(made, left)[0], by_hand)


def test_barlow_twins_of_distinct_rows_is_that_of_all_copies() -> None:
    left, right = rows(2), rows(3)
    items = torch.arange(5).repeat_interleave(COUNTS)
    a, b = left[items], right[items]
    a = (a - a.mean(0)) / (a.std(0) + 1e-5)
    b = (b - b.mean(0)) / (b.std(0) + 1e-5)
    expected = 0.0
    for row in range(4):
        for column in range(4):
            correlation = float((a[:, row] * b[:, column]).sum() / len(items))
            expected += (correlation - 1) ** 2 if row == column else 0.3 * correlation**2
    assert abs(float(repeated_barlow_twins(left, right, COUNTS.double(), 0.3)) - expected) < 1e-9


def test_a_dimension_without_spread_has_a_finite_gradient() -> None:
    left = torch.zeros(5, 4, requires_grad=True)
    repeated_barlow_twins(left, torch.ones(5, 4), COUNTS.float(), 0.1).backward()
    assert left.grad is not None
    assert torch.isfinite(left.grad).all()
