"""Uniform codes: the transport against plain alternating sums, items of equal codes told apart, and what stays."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from interlingua.nn.residual_quantiser import ResidualQuantiser
from interlingua.nn.sinkhorn import balanced, distances, told_apart, uniform


def plainly(apart: Tensor, epsilon: float, rounds: int) -> np.ndarray:
    """The authors' form: exponentials divided by sums of columns and of rows in turn, here with numpy."""
    half, middle = (apart.max() - apart.min()) / 2 + 1e-5, (apart.max() + apart.min()) / 2
    shares = np.exp(-((apart - middle) / half / epsilon).double().numpy())
    for _ in range(rounds):
        shares /= shares.sum(0, keepdims=True)
        shares /= shares.sum(1, keepdims=True)
    return shares


def test_shares_are_those_of_sums_in_turn_and_every_code_gets_as_much() -> None:
    torch.manual_seed(0)
    apart = distances(torch.randn(40, 3), torch.randn(5, 3))
    found = balanced(apart, 0.1)
    np.testing.assert_allclose(found.numpy(), plainly(apart, 0.1, 50), rtol=1e-9)
    torch.testing.assert_close(found.sum(1), torch.ones(40).double())
    torch.testing.assert_close(found.sum(0), torch.full((5,), 8.0).double(), rtol=1e-3, atol=0)


def test_three_points_near_one_code_are_shared_out() -> None:
    """By hand: the nearest is code 0 for all; uniform gives one to each, the one that is least worse off moves."""
    codebook = torch.tensor([[0.0], [10.0], [20.0]])
    points = torch.tensor([[0.0], [1.0], [2.0]])
    assert torch.cdist(points, codebook).argmin(1).tolist() == [0, 0, 0]
    assert uniform(points, codebook, 0.003).tolist() == [0, 1, 2]
    assert bool(balanced(distances(points, codebook), 1e-5).isfinite().all())  # no overflow, however sharp


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 30), st.integers(2, 8), st.integers(1, 3), st.booleans(), st.integers(0, 999))
def test_no_two_items_are_equal_where_that_is_possible(
    count: int, size: int, beginnings: int, twins: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    codebook, rests = torch.randn(size, 2), torch.randn(count, 2)
    if twins:  # Sinkhorn alone cannot part the same vector from itself
        rests[: count // 2 + 1] = rests[0]
    first = torch.randint(beginnings, (count, 1))
    codes = torch.cat([first, torch.cdist(rests, codebook).argmin(1)[:, None]], dim=1)
    found = told_apart(codes, rests, codebook, 0.003)
    assert torch.equal(found[:, 0], codes[:, 0])
    assert int(found.min()) >= 0
    assert int(found[:, 1].max()) < size
    for beginning in first.unique().tolist():
        own = found[found[:, 0] == beginning, 1]
        assert len(own.unique()) == min(len(own), size)
    alone = torch.tensor([int((codes[:, 0] == row).sum()) for row in codes[:, 0].tolist()]) == 1
    assert torch.equal(found[alone], codes[alone])


def test_later_items_take_what_is_free_and_the_earlier_keep_theirs() -> None:
    codebook = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    codes = torch.tensor([[7, 1], [7, 2], [8, 0], [7, 1], [7, 1]])
    found = told_apart(codes, torch.tensor([[1.1], [0.9]]), codebook, 0.003)
    assert found[:3].tolist() == codes[:3].tolist()
    assert found[3:].tolist() == [[7, 3], [7, 0]]  # 1.1 is nearer to 3 than 0.9 is, and 0.9 nearer to 0


def test_training_uses_the_last_codebook_evenly() -> None:
    torch.manual_seed(0)
    vectors = torch.cat([torch.randn(80, 6) * 0.5, torch.randn(16, 6) * 2])
    made = {}
    for epsilon in (0.0, 0.003):
        torch.manual_seed(1)
        quantiser = ResidualQuantiser(6, [8], 4, 2, 8, sinkhorn=epsilon)
        quantiser.begin(vectors)
        with torch.no_grad():
            rest = quantiser.encoder(vectors)
            rest = rest - quantiser.codebooks[0][torch.cdist(rest, quantiser.codebooks[0]).argmin(1)]
            made[epsilon] = quantiser._assigned(rest, quantiser.codebooks[1], True).bincount(minlength=8)
            near = quantiser._assigned(rest, quantiser.codebooks[0], False)
        assert torch.equal(near, torch.cdist(rest, quantiser.codebooks[0]).argmin(1))
    assert int(made[0.003].max()) <= 14  # 12 of 96 each, but for what argmax rounds
    assert int(made[0.003].min()) >= 10
    assert int(made[0.0].max()) > int(made[0.003].max())
