"""Histories shifted to the front, and queries read in parts of similar length: one helper for all sequence models."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from interlingua.backbones import _shifted, recformer, sasrec
from interlingua.backbones._shifted import Cut, by_length, by_rows, last_state, positions_mask, shift
from interlingua.data.queries import Queries

ROWS = torch.tensor([[-1, -1, 4], [7, 8, 9], [-1, -1, -1], [-1, 5, 6]])


def test_events_come_first_and_their_columns_are_known() -> None:
    found = shift(ROWS, 2)
    assert found.lengths.tolist() == [1, 2, 0, 2]
    assert found.real.tolist() == [[True, False], [True, True], [False, False], [True, True]]
    assert torch.equal(found.real, positions_mask(found.lengths, 2))
    assert [row[real].tolist() for row, real in zip(found.indices, found.real, strict=True)] == [
        [4],
        [8, 9],
        [],
        [5, 6],
    ]
    assert found.columns.tolist() == [[1, 2], [0, 1], [2, 3], [0, 1]]
    assert int(found.indices.min()) >= 0, "padding can be looked up"
    states = torch.arange(8.0).view(4, 2, 1)
    assert last_state(states, found.lengths).flatten().tolist() == [0, 3, 4, 7]


@pytest.mark.parametrize("cut", [by_rows, sasrec._similar, recformer._evenly])
@pytest.mark.parametrize("count", [0, 1, 700])
def test_every_row_is_read_once_in_a_part_of_its_own_length(cut: Cut, count: int) -> None:
    generator, most = np.random.default_rng(0), 7
    queries = Queries.of([list(generator.integers(0, 50, generator.integers(0, 12))) for _ in range(count)])
    shapes: list[tuple[int, ...]] = []

    def read(histories: Tensor) -> Tensor:
        shapes.append(tuple(histories.shape))
        assert int((histories != -1).sum(1).max()) in (0, histories.shape[1]), "no wider than the longest"
        real = histories != -1
        return torch.stack([(histories * real).sum(1), real.sum(1)], dim=1).float()

    found = by_length(queries, most, torch.full((count, 2), -1.0), read, cut)
    last = [queries.history(row)[-most:] for row in range(count)]
    assert found.tolist() == [[float(sum(each)), float(len(each))] for each in last]
    assert sum(rows for rows, _ in shapes) == count
    assert [width for _, width in shapes] == sorted(width for _, width in shapes)


def test_each_is_written_once() -> None:
    """Rows in the order of their lengths, shifted columns and masks of positions: nowhere but in the shared file."""
    own = {"by_length", "shift", "last_state", "positions_mask"}
    folder = Path(_shifted.__file__).parent
    for path in sorted(set(folder.glob("*.py")) - {Path(_shifted.__file__)}):
        text = path.read_text(encoding="utf-8")
        defined = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
        assert not defined & own, path.name
        for copied in ("np.argsort(lengths", "< lengths[:, None]"):
            assert copied not in text, f"{path.name}: {copied}"
