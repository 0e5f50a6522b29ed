"""Products of users with candidates: each by itself, some rows at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interlingua.contracts import scorer
from interlingua.contracts.scorer import products


@pytest.mark.parametrize("biased", [False, True])
def test_products_of_all_items_and_of_candidates(biased: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    users, table = torch.randn(5, 3), torch.randn(7, 3)
    bias = torch.randn(7) if biased else None
    expected = (users[:, None] * table[None]).sum(-1).numpy() + (0 if bias is None else bias.numpy())
    np.testing.assert_allclose(products(users, table, None, bias), expected, rtol=1e-5, atol=1e-6)
    items = np.random.default_rng(0).integers(0, 7, (5, 4))
    gathered, einsum = list[int](), torch.einsum
    monkeypatch.setattr(
        torch, "einsum", lambda word, own, found: gathered.append(len(found)) or einsum(word, own, found)
    )
    for numbers, rows in ((1 << 22, [5]), (2 * 4 * 3, [2, 2, 1]), (1, [1] * 5)):
        monkeypatch.setattr(scorer, "GATHERED", numbers)
        gathered.clear()
        found = products(users, table, items, bias)
        assert gathered == rows
        np.testing.assert_allclose(found, np.take_along_axis(expected, items, axis=1), rtol=1e-5, atol=1e-6)
        assert found.dtype == np.float32
    assert products(users[:0], table, items[:0], bias).shape == (0, 4)
    assert products(users, table, items[:, :0], bias).shape == (5, 0)
