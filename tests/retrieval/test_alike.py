"""Rows that are most alike: equal to brute force whatever the blocks, and no table of all of them in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interlingua.data.queries import Queries
from interlingua.recommender import Recommender
from interlingua.retrieval.alike import alike, user_blocks
from interlingua.runs import stages


def brute(table: torch.Tensor, row: int, k: int) -> tuple[list[int], list[float]]:
    """By a full sort of all cosines in float64."""
    wide = table.double()
    lengths = wide.norm(dim=1).clamp_min(1e-12)
    values = (wide @ wide[row] / (lengths * lengths[row])).numpy()
    order = [int(n) for n in np.argsort(-values, kind="stable") if n != row and values[n] > 0][:k]
    return order, [float(values[n]) for n in order]


@given(
    n=st.integers(1, 200), dim=st.integers(1, 9), k=st.integers(1, 30), size=st.integers(1, 90), seed=st.integers(0, 9)
)
def test_blocks_give_what_a_full_sort_gives(n: int, dim: int, k: int, size: int, seed: int) -> None:
    table = torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))
    row = seed % n
    found, (rows, values) = alike(table.split(size), table[row], k, row=row), brute(table, row, k)
    assert found.indices.shape == found.scores.shape == (1, len(rows))
    np.testing.assert_allclose(found.scores[0], values, rtol=1e-4, atol=1e-6)
    lengths = table.norm(dim=1)
    own = (table[found.indices[0]] @ table[row] / (lengths[found.indices[0]] * lengths[row])).numpy()
    np.testing.assert_allclose(own, found.scores[0], rtol=1e-4, atol=1e-6)  # equal ones may stand in another order
    assert row not in found.indices


def test_only_one_block_is_alive_at_a_time() -> None:
    """A million rows of 16 are 64 MB; the search holds a block and k results."""
    import weakref

    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def blocks() -> Iterator[torch.Tensor]:
        nonlocal most
        for seed in range(20):
            most = max(most, sum(ref() is not None for ref in alive))
            block = torch.randn(2000, 16, generator=torch.Generator().manual_seed(seed))
            alive.append(weakref.ref(block))
            yield block
            del block

    found = alike(blocks(), torch.ones(16), 10)
    assert found.indices.shape == (1, 10)
    assert most <= 1


def test_users_are_encoded_in_blocks() -> None:
    sizes: list[int] = []

    def users(queries: Queries) -> torch.Tensor:
        sizes.append(len(queries))
        return torch.as_tensor(queries.lengths())[:, None].float()

    queries = Queries.of([[1] * n for n in range(1, 8)])
    assert torch.cat(list(user_blocks(users, queries, 3)))[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert sizes == [3, 3, 1]


@pytest.mark.parametrize("name", ["mf", "sasrec"])
def test_a_runs_neighbours_are_those_of_its_towers(name: str, tmp_path: Path) -> None:
    sets = ["backbone.fit.epochs=1", "data.options={num_users = 50, num_items = 30}", "evaluate.max_users=5"]
    session = stages.run(name, data="planted", overrides=sets, out=tmp_path, seed=2, device="cpu")
    made, train = Recommender(session), session.data.split.train
    towers = session.backbone.towers()
    assert towers is not None
    tables = {"items": towers.items.detach(), "users": towers.users(session.data.on_record.queries()).detach()}
    for side, ask, ids in (
        ("items", made.similar_items, train.item_ids), ("users", made.similar_users, train.user_ids),
    ):  # fmt: skip
        rows, values = brute(tables[side], 4, 6)
        found = ask(str(ids[4]), 6)
        assert [each[0] for each in found] == [str(ids[row]) for row in rows]
        np.testing.assert_allclose([each.score for each in found], values, rtol=1e-4)
