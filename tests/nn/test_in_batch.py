"""In-batch losses against sums that are written out."""

from __future__ import annotations

import math

import pytest
import torch

from interlingua.nn.in_batch import EqualTargets, batch_items, contrast, debiased_softmax


def test_the_items_of_a_batch_are_distinct_and_without_padding() -> None:
    found = batch_items(torch.tensor([[-1, 4], [2, 4]]), None, torch.tensor([7, 2]))
    assert found.tolist() == [2, 4, 7]


def test_debiased_softmax_is_the_sum_over_every_place_of_the_batch_but_the_own_row() -> None:
    torch.manual_seed(0)
    table, popularity = torch.randn(6, 3), torch.tensor([0.3, 0.1, 0.2, 0.2, 0.15, 0.05])
    sequences = torch.tensor([[-1, 0, 3], [0, 1, 4], [4, 2, 2]])
    rows, targets = torch.tensor([0, 1, 1, 2, 2]), torch.tensor([3, 1, 4, 2, 2])
    states = torch.randn(5, 3, requires_grad=True)
    expected = []
    for state, target, row in zip(states, targets.tolist(), rows.tolist(), strict=True):

        def logit(item: int, state: torch.Tensor = state) -> torch.Tensor:
            return state @ table[item] - math.log(popularity[item])

        own = set(sequences[row].tolist())
        others = [logit(item) for item in sequences.flatten().tolist() if item >= 0 and item not in own]
        expected.append(torch.stack([logit(target), *others]).logsumexp(0) - logit(target))
    found = debiased_softmax(states, table, targets, rows, sequences, popularity)
    torch.testing.assert_close(found, torch.stack(expected).mean())
    found.backward()
    assert bool(states.grad.isfinite().all())


def test_a_batch_of_one_row_has_no_negatives() -> None:
    found = debiased_softmax(
        torch.randn(1, 2),
        torch.randn(3, 2),
        torch.tensor([1]),
        torch.tensor([0]),
        torch.tensor([[0, 1]]),
        torch.ones(3),
    )
    assert found.item() == 0.0


@pytest.mark.parametrize("equal", ["left-out", "authors"])
def test_contrast_with_an_equal_target_by_hand(equal: EqualTargets) -> None:
    left = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 3.0]])
    right = torch.tensor([[1.0, 0.0], [0.0, 5.0], [1.0, 0.0]])
    a, b = math.exp(1 / 0.5), math.exp(math.sqrt(0.5) / 0.5)  # cosines of 1 and of 45 degrees; 1 is exp(0)
    same = 1.0 if equal == "authors" else 0.0  # rows 0 and 2 have one target
    sums = [a + 1 + same, 1 + a + 1, same + b + b]
    own = [a, a, b]
    expected = sum(math.log(total / mine) for total, mine in zip(sums, own, strict=True)) / 3
    assert contrast(left, right, torch.tensor([7, 8, 7]), 0.5, equal).item() == pytest.approx(expected, rel=1e-5)
