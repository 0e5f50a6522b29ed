"""Distances of Gaussians by hand and by PyTorch's distributions."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from interlingua.nn.gaussians import Gaussian, divergence, midpoint, wasserstein


def drawn(seed):
    torch.manual_seed(seed)
    return Gaussian(torch.randn(4, 5), torch.randn(4, 5))


def test_divergence_agrees_with_pytorch_s_distributions():
    p, q = drawn(0), drawn(1)
    expected = kl_divergence(*(Normal(each.mean, (0.5 * each.log_variance).exp()) for each in (p, q)))
    torch.testing.assert_close(divergence(p, q), expected.sum(-1).mean())
    assert float(divergence(p, p)) == 0


def test_wasserstein_by_hand():
    p = Gaussian(torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]]))
    q = Gaussian(
        torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[2 * math.log(5.0), 0.0], [0.0, 2 * math.log(3.0)]])
    )
    # rows: means 3 apart and deviations 1 and 5; equal means and deviations 1 and 3
    assert float(wasserstein(p, q)) == pytest.approx((5 + 2) / 2, rel=1e-6)


def test_equal_gaussians_have_a_finite_gradient():
    mean, log_variance = (torch.zeros(2, 3, requires_grad=True) for _ in range(2))
    wasserstein(Gaussian(mean, log_variance), Gaussian(torch.zeros(2, 3), torch.zeros(2, 3))).backward()
    assert mean.grad is not None
    assert bool(torch.isfinite(mean.grad).all())


def test_the_midpoint_has_the_mean_of_means_and_of_log_variances():
    p = Gaussian(torch.tensor([[1.0]]), torch.tensor([[0.0]]))
    q = Gaussian(torch.tensor([[4.0]]), torch.tensor([[-1.0]]))
    assert [float(each) for each in midpoint(p, q)] == [2.5, -0.5]
