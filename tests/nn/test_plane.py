"""The plane through a cloud of vectors."""

from __future__ import annotations

import torch

from interlingua.nn.plane import plane_of


def cloud(count: int = 200, dim: int = 12) -> torch.Tensor:
    random = torch.Generator().manual_seed(3)
    strengths = torch.tensor([5.0, 3.0] + [0.2] * (dim - 2))
    return torch.randn(count, dim, generator=random) * strengths + 1.0


def test_it_spreads_most_along_its_axes_and_neither_turns_nor_flips() -> None:
    vectors = cloud()
    plane = plane_of(vectors)
    points = plane.at(vectors)
    directions = torch.nn.functional.normalize(vectors, dim=1)
    covariance = torch.cov(directions.T)
    expected = torch.linalg.eigvalsh(covariance).flip(0)
    assert torch.allclose(points.var(dim=0), expected[:2], rtol=1e-4)
    assert torch.allclose(torch.tensor(plane.explained), expected[:2] / expected.sum(), rtol=1e-4)
    assert torch.allclose(plane.axes.T @ plane.axes, torch.eye(2), atol=1e-5)
    again = plane_of(vectors[torch.randperm(len(vectors), generator=torch.Generator().manual_seed(1))])
    assert torch.allclose(again.at(vectors), points, atol=1e-4)


def test_lengths_do_not_count_and_a_new_vector_moves_nothing() -> None:
    vectors = cloud()
    plane = plane_of(vectors)
    assert torch.allclose(plane.at(vectors * 7), plane.at(vectors), atol=1e-5)
    more = torch.cat([vectors, vectors[:1]])
    assert torch.equal(plane.at(more)[:-1], plane.at(vectors))
    assert torch.equal(plane.at(more)[-1], plane.at(more)[0])


def test_vectors_that_say_nothing_and_clouds_too_thin_for_a_plane() -> None:
    vectors = torch.cat([cloud(), torch.zeros(3, 12)])
    assert torch.equal(plane_of(vectors).axes, plane_of(cloud()).axes)
    assert not plane_of(vectors).at(vectors)[-3:].any()
    for thin in (torch.zeros(4, 3), torch.ones(1, 3), torch.ones(5, 3), torch.ones(4, 1)):
        plane = plane_of(thin)
        assert plane.explained == (0.0, 0.0)
        assert not plane.at(thin).any()
    line = plane_of(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    assert line.explained[0] > line.explained[1]
