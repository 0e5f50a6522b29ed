"""Positions counted tile by tile equal those counted in the whole block of scores."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interlingua.contracts.scorer import TableScorer
from interlingua.data.queries import Queries
from interlingua.evaluate.ranking import distinct, in_full
from interlingua.retrieval import tiles
from interlingua.retrieval.positions import BEYOND, NEVER


def drawn(seed, rows, items, dim, biased, *, whole=False):
    """Vectors (of small whole numbers: many equal scores, added without rounding), targets and seen items."""
    generator = np.random.default_rng(seed)

    def numbers(*shape):
        values = generator.integers(-2, 3, shape) if whole else generator.standard_normal(shape)
        return torch.from_numpy(values.astype(np.float32))

    targets = generator.integers(0, items, rows)
    seen = Queries.of([generator.integers(0, items, generator.integers(0, 2 * items)) for _ in range(rows)])
    return numbers(rows, dim), numbers(items, dim), numbers(items) if biased else None, targets, seen


def by_block(query, table, bias, targets, seen):
    scores = (query @ table.T if bias is None else query @ table.T + bias).numpy()
    first, _ = in_full(scores, targets, np.arange(len(targets)), distinct(seen), expected=False)
    return first


def clipped(positions, depth):
    return np.where((positions > depth) & (positions < NEVER), BEYOND, positions)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 40),
    items=st.integers(1, 60),
    biased=st.booleans(),
    tile=st.sampled_from([8, 16, 64]),
    depth=st.sampled_from([1, 3, 10, 60]),
)
def test_ties_seen_items_and_targets_that_are_seen(seed, rows, items, biased, tile, depth):
    made = drawn(seed, rows, items, 3, biased, whole=True)
    with pytest.MonkeyPatch.context() as patch:  # whole numbers are rounded alike in tiles of any size
        patch.setattr(tiles, "TILE", tile)
        patch.setattr(tiles, "COLUMNS", 8)
        found = tiles.in_tiles(*made, depth)
    np.testing.assert_array_equal(found, clipped(by_block(*made), depth))


@pytest.mark.parametrize("depth", [1, 20, 500])
def test_queries_that_are_done_with_are_left_out(depth, monkeypatch):
    made = drawn(2, 300, 3 * tiles.TILE, 16, False)
    real, products = torch.mm, []

    def counted(left, right, *, out):
        products.append(left.shape[0] * right.shape[1])
        return real(left, right, out=out)

    monkeypatch.setattr(tiles.torch, "mm", counted)
    found = tiles.in_tiles(*made, depth)
    np.testing.assert_array_equal(found, clipped(by_block(*made), depth))
    assert sum(products) < {1: 0.35, 20: 0.4, 500: 0.9}[depth] * 300 * 3 * tiles.TILE


@pytest.mark.parametrize("biased", [False, True])
def test_real_numbers_over_several_full_tiles(biased):
    made = drawn(5, 300, 2 * tiles.TILE + 37, 64, biased)
    found = tiles.in_tiles(*made, len(made[1]))
    assert found is not None
    assert (found == NEVER).any()
    np.testing.assert_array_equal(found, by_block(*made))


def test_more_queries_than_a_tile_has_room_for(monkeypatch):
    monkeypatch.setattr(tiles, "CELLS", 64)
    made = drawn(3, 50, 70, 4, False)
    np.testing.assert_array_equal(tiles.in_tiles(*made, 70), by_block(*made))


@pytest.mark.parametrize("rows", [5, 9, 40, 129, 136, 300, 904])
@pytest.mark.parametrize("items", [100, 1025, 1300])
def test_no_number_of_queries_or_items_is_left_to_the_plain_way(rows, items):
    made = drawn(7, rows, items, 64, False)
    a, b = torch.randn(128, 64), torch.randn(1024, 64)
    if not torch.equal((a @ b.T)[:8, :64], a[:8] @ b[:64].T):
        pytest.skip("this machine rounds products of matrices of these sizes differently")
    for depth in (10, items):
        np.testing.assert_array_equal(tiles.in_tiles(*made, depth), clipped(by_block(*made), depth))


def test_equal_vectors_are_ordered_by_row():
    table = torch.ones(2500, 4)
    seen, targets = Queries.of([[], [], [2]]), np.array([0, 2400, 2400])
    assert tiles.in_tiles(torch.ones(3, 4), table, None, targets, seen, 2500).tolist() == [1, 2401, 2400]


def test_a_score_that_depends_on_its_place_is_left_to_the_whole_block(monkeypatch):
    made = drawn(1, 20, 90, 8, False)
    real, calls = torch.mm, []

    def off(left, right, *, out):
        calls.append(1)
        real(left, right, out=out)
        return out.mul_(1 + 1e-6)

    monkeypatch.setattr(tiles.torch, "mm", off)
    assert tiles.in_tiles(*made, 90) is None
    assert calls


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e20])
def test_vectors_without_finite_products_are_left_to_the_plain_way(value):
    query, table, _, _, seen = drawn(1, 3, 9, 2, False)
    query[1, 1], table[4, 0] = value, 1e18
    assert tiles.vectors_of(TableScorer(table, lambda _: query), seen) is None


def test_count_adds_up_to_a_full_tile():
    flags = np.ones((3, tiles.TILE), np.bool_)
    flags[1, ::3] = False
    assert tiles.count(flags).tolist() == flags.sum(1).tolist()
