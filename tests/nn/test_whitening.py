"""Principal directions beside scikit-learn's, and what whitening promises."""

import torch
from sklearn.decomposition import PCA

from interlingua.nn.whitening import principal, whitened


def vectors(n: int = 60, t: int = 7) -> torch.Tensor:
    torch.manual_seed(3)
    return torch.randn(n, t) @ torch.diag(torch.arange(1.0, t + 1)) + 5


def test_directions_and_variances_are_those_of_scikit_learn() -> None:
    table = vectors()
    expected = PCA(3).fit(table.double().numpy())
    mean, basis, variances = principal(table, 3)
    assert torch.allclose(mean, torch.as_tensor(expected.mean_))
    assert torch.allclose(variances, torch.as_tensor(expected.explained_variance_))
    assert torch.allclose((basis.T @ torch.as_tensor(expected.components_).T).abs(), torch.eye(3).double(), atol=1e-8)


def test_the_covariance_of_whitened_vectors_is_the_identity() -> None:
    made = whitened(vectors(), 4)
    assert torch.allclose(torch.cov(made.double().T), torch.eye(4).double(), atol=1e-5)
    assert torch.allclose(made.mean(0), torch.zeros(4), atol=1e-5)


def test_directions_without_variance_are_left_out_instead_of_blown_up() -> None:
    flat = torch.cat([vectors(t=3), torch.ones(60, 4)], dim=1)
    assert whitened(flat, 6).shape == (60, 3)


def test_both_sides_of_a_joint_whitening_lie_on_the_same_axes() -> None:
    """A vector that stands in both tables gets the same coordinates in both; apart it does not."""
    left, right = vectors(40), vectors(50) * 2 + 1
    right[0] = left[0]
    both = torch.cat([left, right])
    assert torch.allclose(whitened(left, 4, both)[0], whitened(right, 4, both)[0], atol=1e-6)
    assert not torch.allclose(whitened(left, 4)[0], whitened(right, 4)[0], atol=1e-2)
