"""A mapping means exactly what the same expression means, in items and in refusals; columns of yes and no above all."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from interlingua.data.allowed import passing
from interlingua.data.catalogue import Catalogue
from interlingua.errors import InterlinguaError

COLUMNS: dict[str, list[Any]] = {
    "text": ["yes", "no", "No", None, "YES"],
    "words": ["true", "false", "0", "", "1"],
    "flag": [True, False, False, None, True],
    "digits": ["1", "0", "0", None, "1"],
    "binary": [1, 0, 0, None, 1],
}
"""one answer each: yes for a and e, no for b and c, none for d"""
ITEMS = Catalogue(
    pl.DataFrame(
        {
            "item_id": list("abcde"),
            "title": ["Yes", "no", "Star", None, "5"],
            "categories": ["A|B", "B", None, "yes", "1"],
            "price": [1.0, 0.0, 2.5, None, -3.0],
            "mixed": ["5", "cheap", "dear", None, "1"],
            "bare": [None] * 5,
            **COLUMNS,
        },
        schema_overrides={"bare": pl.String},
    )
)
VALUES = [True, False, 1, 0, 1.0, 2, -3, 2.5, "yes", "NO", "true", "1", "0", "maybe", "A", "5", "", None]
SIGNS = {"": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def items(filters: Any) -> str | None:
    """The ids that pass; None: refused."""
    try:
        found = passing(ITEMS, filters)
    except InterlinguaError:
        return None
    mask = np.logical_and.reduce([each for _, each in found])
    return "".join(name for name, good in zip("abcde", mask, strict=True) if good)


@pytest.mark.parametrize("column", list(ITEMS.items.columns))
def test_a_mapping_is_the_same_expression(column: str) -> None:
    for key, sign in SIGNS.items():
        for value in VALUES:
            assert items({f"{column}{key}": value}) == items(f"{column} {sign} {value!r}"), (key, value)
            if sign in ("==", "!="):
                several, word = [value, "yes"], "in" if sign == "==" else "not in"
                assert items({f"{column}{key}": several}) == items(f"{column} {word} {several!r}"), (key, value)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("yes", [True, 1, 1.0, "yes", "true", "1", " YES "])
@pytest.mark.parametrize("no", [False, 0, 0.0, "no", "false", "0", "No"])
def test_yes_and_no_in_any_spelling(column: str, yes: Any, no: Any) -> None:
    assert items({column: yes}) == items(f"{column} == {yes!r}") == "ae"
    assert items({f"{column}!=": yes}) == items(f"{column} != {yes!r}") == "bcd"
    assert items({column: no}) == items(f"{column} == {no!r}") == "bc"
    assert items({f"{column}!=": no}) == items(f"{column} != {no!r}") == "ade"


@pytest.mark.parametrize("column", ["text", "words", "flag"])
@pytest.mark.parametrize("value", ["maybe", 2, -1, 0.5, "y"])
def test_what_is_neither_yes_nor_no_is_refused(column: str, value: Any) -> None:
    for filters in ({column: value}, {column: ["yes", value]}, f"{column} == {value!r}", f"{column} != {value!r}"):
        with pytest.raises(InterlinguaError, match=rf"the column '{column}' is one of yes and no \(e\.g\. "):
            passing(ITEMS, filters)
