"""Several sources of texts side by side, each in its own units: two rows by hand, and further rows as the old ones."""

from __future__ import annotations

import pytest
import torch

from interlingua.nn.linear_autoencoders import stacked, stacked_with

FIRST, SECOND = torch.tensor([[3.0, 0.0], [1.0, 4.0]]), torch.tensor([[2.0], [-2.0]])


@pytest.mark.parametrize(
    ("centred", "rows", "squares"),
    [(False, [[3.0, 0.0], [1.0, 4.0]], (9 + 17) / 2), (True, [[1.0, -2.0], [-1.0, 2.0]], (5 + 5) / 2)],
)
def test_each_source_is_divided_by_the_root_mean_square_length_of_its_rows(
    centred: bool, rows: list[list[float]], squares: float
) -> None:
    found = stacked([FIRST, SECOND], [0.5, 3.0], centred)
    expected = torch.cat([0.5 * torch.tensor(rows) / squares**0.5, torch.tensor([[3.0], [-3.0]])], 1)
    torch.testing.assert_close(found, expected)
    again = stacked_with([FIRST, SECOND], [FIRST[1:], SECOND[1:]], [0.5, 3.0], centred)
    assert torch.equal(again, found[1:])
    assert stacked([FIRST[:0], SECOND[:0]], [1.0, 1.0], centred).shape == (0, 3)
