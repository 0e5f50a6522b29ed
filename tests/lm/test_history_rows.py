"""Rows of histories: prefixes, and what stands on the left moved to the front."""

from __future__ import annotations

import torch

from interlingua.data.queries import PAD
from interlingua.lm import history as sequence


def test_prefix_queries_are_the_items_up_to_each_place():
    histories = torch.tensor([[PAD, 3, 4], [1, 2, 5]])
    keep = torch.tensor([[True, True, False], [False, True, True]])
    got = sequence.prefix_queries(histories, keep)
    assert [list(got.history(b)) for b in range(len(got))] == [[3], [3, 4], [1, 2], [1, 2, 5]]


def test_rows_are_moved_to_the_front_together_with_their_targets():
    histories = torch.tensor([[PAD, 3, 4], [1, 2, 5]])
    targets = torch.tensor([[PAD, 4, 6], [2, 5, 7]])
    rows, where = sequence.shifted(histories, histories)
    moved, _ = sequence.shifted(targets, histories)
    assert rows.tolist() == [[3, 4, PAD], [1, 2, 5]]
    assert moved.tolist() == [[4, 6, PAD], [2, 5, 7]]
    assert where.tolist() == [[True, True, False], [True, True, True]]
