"""Losses between structures, worked by hand."""

import math

import pytest
import torch

from interlingua.nn.structure import centre_gap, clusters, similarity_gap, squared_cosine, uniformity

X, Y = [1.0, 0.0], [0.0, 1.0]
DIAGONAL = [3.0, 3.0]


def test_squared_cosine_is_zero_for_orthogonal_rows_and_half_at_45_degrees() -> None:
    assert squared_cosine(torch.tensor([X, Y]), torch.tensor([Y, X])) == 0
    assert squared_cosine(torch.tensor([X, X]), torch.tensor([DIAGONAL, Y])).item() == pytest.approx(0.25)


def test_uniformity_counts_every_pair_once() -> None:
    """Distances squared: 2 (orthogonal), 4 (opposite), 2: mean of exp(-4), exp(-8), exp(-4)."""
    found = uniformity(torch.tensor([X, Y, [-5.0, 0.0]]))
    assert found.item() == pytest.approx(math.log((2 * math.exp(-4) + math.exp(-8)) / 3), rel=1e-5)
    assert uniformity(torch.tensor([X, X])).item() == pytest.approx(0.0, abs=1e-5)


def test_similarity_gap_compares_the_angles_of_pairs_whatever_the_axes() -> None:
    torch.manual_seed(0)
    left = torch.randn(6, 4)
    turned = torch.linalg.qr(torch.randn(4, 4))[0]
    assert similarity_gap(left, 7 * left @ turned).item() == pytest.approx(0.0, abs=1e-6)
    assert similarity_gap(torch.tensor([X, Y]), torch.tensor([X, X])).item() == pytest.approx(1.0, rel=1e-4)


def test_clusters_go_by_direction_and_begin_alike() -> None:
    torch.manual_seed(0)
    table = torch.cat([torch.tensor([[5.0, 0.0]]).expand(4, 2), torch.tensor([[0.0, 0.1]]).expand(3, 2)])
    found = clusters(table + 0.001 * torch.randn(7, 2), 2)
    assert len(set(found[:4].tolist())) == len(set(found[4:].tolist())) == 1
    assert found[0] != found[6]
    drawn = torch.randn(50, 3)
    assert torch.equal(clusters(drawn, 5), clusters(drawn, 5))
    assert clusters(drawn[:2], 5).max() <= 1, "no more clusters than rows"
    assert set(clusters(torch.ones(6, 2), 3).tolist()) == {0}, "nor than different rows"


def test_centres_are_matched_before_they_are_compared() -> None:
    """The same two clusters under other numbers: no gap. One of them turned by 45 degrees: half of each term."""
    left, labels = torch.tensor([X, X, Y]), torch.tensor([0, 0, 1])
    assert centre_gap(left, left, labels, 1 - labels).item() == pytest.approx(0.0, abs=1e-6)
    other = torch.tensor([X, X, DIAGONAL])
    expected = (0 + (math.sqrt(0.5) - 1) ** 2) / 2 + (0 + 0.5) / 2
    assert centre_gap(left, other, labels, labels).item() == pytest.approx(expected, rel=1e-4)


def test_a_cluster_without_a_row_in_the_batch_is_left_out() -> None:
    left = torch.tensor([X, X, Y])
    gap = centre_gap(left, left, torch.tensor([0, 0, 3]), torch.tensor([2, 2, 2]))
    mean = torch.tensor([2.0, 1.0]) / math.sqrt(5)
    assert gap.item() == pytest.approx((mean[0].item() - 1) ** 2, rel=1e-4), (
        "one centre there, matched with the nearest"
    )
