"""Which cells of one column meet a condition: what comparisons (:mod:`interlingua.data.comparisons`) are made of.

Values that can be read as numbers are compared as numbers, others as texts. A cell without a value meets ``!=`` only;
NaN is no number, so no comparison of numbers holds for it.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from interlingua.data.catalogue import Catalogue
from interlingua.errors import DataError, shown

BoolArray = npt.NDArray[np.bool_]
ORDERED = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
EQUAL = ("=", "!=")
SEVERAL = "categories"
"""column whose cells hold several values: ``Comedy|Drama``"""


def equal(catalogue: Catalogue, column: str, values: Sequence[Any]) -> BoolArray:
    """(I,) cells that equal any of the values; None and an empty text: that have none."""
    cells = catalogue.items[column]
    given = [each for each in values if each is not None and each != ""]
    texts = {_text(each) for each in given}
    if column == SEVERAL:
        same = np.fromiter((not own.isdisjoint(texts) for own in catalogue.categories), np.bool_, len(catalogue))
    else:
        numbers = {number for each in given if (number := _number(each)) is not None}
        found = cells.cast(pl.String).is_in(pl.Series(list(texts), dtype=pl.String)).fill_null(False)
        if numbers:
            expected = pl.Series(list(numbers), dtype=pl.Float64)
            found |= numbers_of(cells).is_in(expected).fill_null(False)
        same = found.to_numpy()
    return same | empty(cells) if len(given) < len(values) else same


def empty(cells: pl.Series) -> BoolArray:
    """(I,) cells without a value."""
    nan = cells.is_nan() if cells.dtype.is_float() else False
    return (cells.is_null() | (cells.cast(pl.String) == "").fill_null(False) | nan).fill_null(True).to_numpy()


def numbers_of(cells: pl.Series) -> pl.Series:
    """(I,) the cells as Float64; null: no number, NaN among them (Polars has it above all numbers)."""
    return cells.cast(pl.Float64, strict=False).fill_nan(None)


def contains(cells: pl.Series, part: str) -> BoolArray:
    """(I,) cells whose text has this part, in any case."""
    found = cells.cast(pl.String).str.to_lowercase().str.contains(part.lower(), literal=True)
    return found.fill_null(False).to_numpy()


def no_value(what: str, sign: str) -> str:
    """The message for an operator without a value."""
    return f"filters: {what} has no value behind {sign}; write e.g. year>=1990, title contains star"


def ordered(cells: pl.Series, column: str, sign: str, value: Any) -> BoolArray:
    """(I,) cells below or above a value, as numbers or as texts.

    Raises:
        DataError: the value is a number, and no cell of the column is one.
    """
    cells = cells.fill_nan(None) if cells.dtype.is_float() else cells
    number, numbers = _number(value), numbers_of(cells)
    if number is None:
        return ORDERED[sign](cells.cast(pl.String), _text(value)).fill_null(False).to_numpy()
    if numbers.null_count() == len(numbers) > cells.null_count():
        raise DataError(
            f"filters: {column!r} {sign} {shown(value)} compares numbers, and no cell of the column is one "
            f"(e.g. {shown(cells.drop_nulls()[0])})"
        )
    return ORDERED[sign](numbers, number).fill_null(False).to_numpy()


def _text(value: Any) -> str:
    """As polars writes a cell of that value."""
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool | np.bool_):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return found if np.isfinite(found) else None
