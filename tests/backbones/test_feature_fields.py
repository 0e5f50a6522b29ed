"""Fields of items: which values a cell has, and what an item of several is."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
import torch

from interlingua.backbones._feature_fields import CategoryField, values_of
from interlingua.data.catalogue import values_in


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("tags", "funny, dark", ["funny", "dark"]),
        ("categories", "Sci-Fi | Crime", ["Sci-Fi", "Crime"]),
        ("brand", " Dolce, Gabbana ", ["Dolce, Gabbana"]),
        ("actors", ["Ann ", None, "", "Bob, jr."], ["Ann", "Bob, jr."]),
        ("year", 1999, ["1999"]),
        ("year", None, []),
        ("brand", "  ", []),
        ("tags", ";", []),
    ],
)
def test_values_of_a_cell(column: str, cell: Any, expected: list[str]) -> None:
    assert values_in(column, cell) == expected


def test_an_item_is_the_mean_of_its_tags_in_any_order_and_of_lists() -> None:
    texts = pl.DataFrame({"tags": ["funny, dark", "dark, funny", "dark", None]})
    lists = pl.DataFrame({"tags": [["funny", "dark"], ["dark", "funny", "dark"], ["dark"], None]})
    for items in (texts, lists):
        torch.manual_seed(0)
        field = CategoryField(4, 3, 1.0)
        field.take_in(items, "tags")
        dark, funny = field.table.detach()
        found = field(torch.arange(4)).detach()
        assert torch.allclose(found, torch.stack([(dark + funny) / 2, (dark + funny) / 2, dark, torch.zeros(3)]))
        assert (field.read(pl.DataFrame({"tags": ["dark|new"]})) == torch.tensor([[1]])).all()
    assert values_of(texts, "colour") == [[], [], [], []]
