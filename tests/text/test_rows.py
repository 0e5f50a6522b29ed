"""Users from their items, fewer dimensions, controls."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interlingua.contracts.batch import Embeddings
from interlingua.data.interactions import Interactions
from interlingua.errors import ConfigError
from interlingua.vectors.fields import TextConfig
from interlingua.vectors.rows import controlled, directions, finish_rows, mean_of_items


@pytest.fixture
def train() -> Interactions:
    names = [np.array([str(i) for i in range(n)]) for n in (3, 4)]
    return Interactions.of(names[0], names[1], np.array([0, 0, 2]), np.array([1, 3, 3]))


def test_a_user_is_the_mean_of_its_training_items(train: Interactions) -> None:
    items = torch.arange(8.0).reshape(4, 2)
    users = mean_of_items(items, train)
    assert torch.equal(users[0], (items[1] + items[3]) / 2)
    assert torch.equal(users[1], items.mean(0)), "a user without events"
    assert torch.equal(users[2], items[3])


def test_reduction_keeps_products_when_the_rank_allows_it() -> None:
    torch.manual_seed(0)
    low = torch.randn(9, 3) @ torch.randn(3, 8)  # rank 3 in 8 dimensions
    basis = directions(low[:4], low[4:], 3)
    users, items = low[:4] @ basis, low[4:] @ basis
    assert users is not None
    assert users.shape == (4, 3)
    assert torch.allclose(users @ items.T, low[:4] @ low[4:].T, atol=1e-4)


def test_reduction_to_more_dimensions_than_there_are() -> None:
    with pytest.raises(ConfigError, match=r"text\.reduce = 9, but the text vectors have only 2"):
        directions(None, torch.randn(4, 2), 9)


def test_controls_keep_the_numbers_and_lose_the_meaning() -> None:
    rows = torch.randn(200, 3) * torch.tensor([1.0, 2.0, 5.0]) + 4
    mixed = controlled(rows, "shuffled", np.random.default_rng(0))
    assert not torch.equal(mixed, rows)
    assert torch.equal(mixed.sort(0).values, rows.sort(0).values)
    noise = controlled(rows, "noise", np.random.default_rng(0))
    assert torch.allclose(noise.std(0), rows.std(0), rtol=0.2)
    assert torch.allclose(noise.mean(0), rows.mean(0), atol=1.0)


def test_everything_in_order_and_the_same_with_the_same_seed(train: Interactions) -> None:
    items = torch.randn(4, 3)
    config = TextConfig(users="items", reduce=2, control="shuffled")
    first, again, other = (finish_rows(Embeddings(None, items), train, config, seed)[0] for seed in (1, 1, 5))
    assert first.users is not None
    assert first.users.shape == (3, 2)
    assert torch.equal(first.items, again.items)
    assert not torch.equal(first.items, other.items)
