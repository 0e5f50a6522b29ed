"""Filters by columns of the catalogue: what passes, by hand, and what is refused in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from interlingua.data.allowed import passing, split_filter
from interlingua.data.catalogue import Catalogue
from interlingua.errors import ConfigError, DataError, InterlinguaError

ITEMS = Catalogue(
    pl.DataFrame(
        {
            "item_id": ["a", "b", "c", "d"],
            "title": ["Star Wars", "Stardust", "Alien", None],
            "description": [None] * 4,
            "categories": ["Action|Sci-Fi", "Comedy, Drama", "Sci-Fi", None],
            "year": ["1977", "2007.0", "1979", None],
            "price": [9.5, 20.0, None, 5.0],
            "stock": [True, False, None, True],
            "day": ["1977-05-25", "2007-10-12", "1979-06-22", ""],
            "odd>=": ["x", "y", "x", "x"],
        }
    )
)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "abcd"),
        ({"categories": "Sci-Fi"}, "ac"),
        ({"categories": "Sci"}, ""),
        ({"categories": ["Drama", "Action"]}, "ab"),
        ({"categories": ("!=", "Sci-Fi")}, "bd"),
        ({"categories!=": ["Sci-Fi", "Comedy"]}, "d"),
        ({"categories": None}, "d"),
        ({"year": 2007}, "b"),
        ({"year": "1979"}, "c"),
        ({"year>=": 1979}, "bc"),
        ({"year >=": "1979"}, "bc"),
        ({"year": (">=", 1979)}, "bc"),
        ({"year<": 1979.5, "categories": "Action"}, "a"),
        ({"price>": 9}, "ab"),
        ({"price<=": 9.5}, "ad"),
        ({"price": ("!=", None)}, "abd"),
        ({"stock": True}, "ad"),
        ({"stock=": "true"}, "ad"),
        ({"day>": "1978-01-01"}, "bc"),
        ({"day": None}, "d"),
        ({"day": ""}, "d"),
        ({"title=": ""}, "d"),
        ({"title!=": ""}, "abc"),
        ({"title contains": "star"}, "ab"),
        ({"title": ("contains", "WARS")}, "a"),
        ({"categories contains": "com"}, ""),
        ('"com" in categories', ""),
        ({"categories contains": "Comedy"}, "b"),
        ('"Comedy" in categories', "b"),
        ({"odd>=": "x"}, "acd"),
        ({"item_id": {"a", "d"}}, "ad"),
        ({"item_id": []}, ""),
    ],
)
def test_what_passes(filters: dict[str, Any] | str, expected: str) -> None:
    found = passing(ITEMS, filters)
    assert len(found) == (1 if isinstance(filters, str) else len(filters))
    ids = ITEMS.items["item_id"].to_list()
    assert "".join(each for row, each in enumerate(ids) if all(mask[row] for _, mask in found)) == expected


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"categoris": "Comedy"}, r"unknown column 'categoris' in filters; did you mean 'categories'\?"),
        ({"year": ("=>", 3)}, "a pair is"),
        ({"year>=": (">", 3)}, "a pair is"),
        ({"year>=": [1, 2]}, "takes one value"),
        ({"price": {"a": 1}}, "a text or a number"),
        ({"title>": 5}, "'title' > 5: the column 'title' holds no number"),
        ({"title>": "5"}, "no cell of the column is one"),
        ({"price>=": "abc"}, r"'price' >= 'abc': the column 'price' holds numbers \(e.g. 9.5\)"),
        ({"year<": "soon"}, "the column 'year' holds numbers"),
        ({"year": ["1977", "soon"]}, "'year' = 'soon': the column 'year' holds numbers"),
        ({"price<": True}, "'price' < True: behind < a number or a text was expected"),
        ({"title": True}, "'title' = True: the column 'title' is not one of yes and no"),
        ({"stock": 2}, "'stock' = 2: the column 'stock' is one of yes and no"),
        ({"stock>": 0}, "yes and no, which have no order"),
        ({"price>": float("nan")}, "'price' > nan; give a finite number, or None for no value"),
        ({"price": float("nan")}, "give a finite number, or None"),
        ({"price<": float("inf")}, "'price' < inf; give a finite number"),
        ({"price": [1.0, np.float32("-inf")]}, "'price' = -inf; give a finite number"),
        ({"title contains": ""}, "no value behind contains"),
        ({"day>=": " "}, "no value behind >="),
        (["categories"], "give an expression, e.g. .* or a mapping"),
        ("categories=Comedy", "write == for equal"),
    ],
)
def test_what_cannot_be_read_is_said(filters: Any, words: str) -> None:
    with pytest.raises(InterlinguaError, match=words) as caught:
        passing(ITEMS, filters)
    assert isinstance(caught.value, ConfigError | DataError)


@pytest.mark.parametrize("cells", [[float("nan"), 5.0, None], ["NaN", "5", None], ["nan", "5.0", ""]])
def test_nan_is_no_number(cells: list[Any]) -> None:
    table = Catalogue(ITEMS.items.head(3).with_columns(pl.Series("price", cells)))
    for sign, expected in (
        (">", [False] * 3),
        ("<", [False] * 3),
        (">=", [False, True, False]),
        ("<=", [False, True, False]),
    ):
        for filters in ({f"price{sign}": 5}, f"price {sign} 5", f"5.0 {expression_sign(sign)} price"):
            ((_, mask),) = passing(table, filters)
            assert mask.tolist() == expected, filters
    ((_, other),) = passing(table, "price != 5")
    assert other.tolist() == [True, False, True]
    with pytest.raises(ConfigError, match="holds numbers"):
        passing(table, 'price == "cheap"')
    if isinstance(cells[0], float):
        assert passing(table, "price is None")[0][1].tolist() == [True, False, True]


def expression_sign(sign: str) -> str:
    return {"<": ">", ">": "<", "<=": ">=", ">=": "<="}[sign]


def test_a_filter_in_one_text() -> None:
    assert split_filter("categories=Comedy") == ("categories=", "Comedy")
    assert split_filter("year >= 1990") == ("year >=", "1990")
    assert split_filter("title contains a = b") == ("title contains", "a = b")
    assert split_filter("brand!=A=B") == ("brand!=", "A=B")
    with pytest.raises(ConfigError, match="has no operator"):
        split_filter("Comedy")
