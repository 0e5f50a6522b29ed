"""Filters for the items of a list, by any column of the catalogue.

A filter is ``{column: condition}`` (the catalogue's or the source's name of a column); an item passes if it meets
every condition::

    {"categories": "Comedy"}                     one of its categories is Comedy
    {"categories": ["Comedy", "Drama"]}          any of these
    {"brand": ("!=", "Acme")}                    an operator and a value
    {"year>=": 1990, "title contains": "star"}   the same, written in the key (as JSON and the command line can)

Operators: ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=`` and ``contains`` (a part of the text, in any case). Values that
can be read as numbers are compared as numbers, others as texts (dates as ``2020-12-31`` have their right order). An
item without a value passes ``!=`` only; ``None`` (or an empty text) means exactly that: ``{"brand": None}`` has
no brand. If most cells of a column are numbers, ``<`` and ``>`` refuse a value that is not a number.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from interlingua.data.catalogue import Catalogue
from interlingua.errors import ConfigError, DataError, shown, unknown

Filters = Mapping[str, Any]
BoolArray = npt.NDArray[np.bool_]
ORDERED = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
EQUAL = ("=", "!=")
OPERATORS = (*EQUAL, *ORDERED, "contains")
IN_KEY = re.compile(r"(?P<column>.+?)\s*(?P<operator>!=|<=|>=|=|<|>|\scontains)\s*", re.S)
SEVERAL = "categories"
"""column whose cells hold several values: ``Comedy|Drama``"""


def passing(catalogue: Catalogue, filters: Filters) -> list[tuple[str, BoolArray]]:
    """Each condition in words, and the (I,) mask of items that meet it; an item must meet all.

    Raises:
        ConfigError: filters that are not a mapping, an unknown operator, or a value that cannot be compared.
        DataError: a column that the catalogue does not have.
    """
    if not isinstance(filters, Mapping):
        raise ConfigError(f"filters is {shown(filters)}; give a mapping, e.g. {{'categories': 'Comedy'}}")
    out = []
    for key, condition in filters.items():
        column, sign, value = _condition(catalogue, key, condition)
        out.append((f"{column} {sign} {shown(value)}", _meets(catalogue, column, sign, value)))
    return out


def split_filter(text: str) -> tuple[str, str]:
    """``year>=1990`` as (``year>=``, ``1990``): a condition in one text, as the command line takes it.

    Raises:
        ConfigError: there is no operator in it, or no value after an operator that needs one.
    """
    found = IN_KEY.match(text)
    if found is None:
        raise ConfigError(
            f"the filter {text!r} has no operator; write e.g. categories=Comedy, year>=1990, title contains star "
            f"(operators: {', '.join(OPERATORS)})"
        )
    value, sign = text[found.end() :].strip(), found["operator"].strip()
    if not value and sign not in EQUAL:
        raise ConfigError(_no_value(repr(text), sign))
    return found[0].strip(), value


def _condition(catalogue: Catalogue, key: Any, condition: Any) -> tuple[str, str, Any]:
    """(column, operator, value) of one entry; a column whose name ends like an operator is that column."""
    given, sign = str(key), "="
    found = IN_KEY.fullmatch(given)
    name = catalogue.column(given)
    if name is None and found is not None:
        given, sign = found["column"].strip(), found["operator"].strip()
        name = catalogue.column(given)
    if name is None:
        known = [*catalogue.items.columns, *catalogue.names.values()]
        raise DataError(unknown("column", given, known, "filters", ", ".join(catalogue.named)))
    if isinstance(condition, tuple):
        if len(condition) != 2 or condition[0] not in OPERATORS or sign != "=":
            raise ConfigError(
                f"filters: {key!r} has {shown(condition)}; a pair is (operator, value) with one of "
                f"{', '.join(OPERATORS)}; give a list for any of several values"
            )
        return name, *condition
    return name, sign, condition


def _meets(catalogue: Catalogue, column: str, sign: str, value: Any) -> BoolArray:
    several = isinstance(value, list | set | frozenset | tuple | pl.Series | np.ndarray)
    values = list(value) if several else [value]
    wrong = [each for each in values if not isinstance(each, str | int | float | np.generic | type(None))]
    if wrong:
        raise ConfigError(f"filters: {column!r} has the value {shown(wrong[0])}; give a text or a number")
    if sign in EQUAL:
        same = np.zeros(len(catalogue), np.bool_)
        for each in values:
            same |= _equal(catalogue, column, each)
        return same if sign == "=" else ~same
    if several or value is None:
        raise ConfigError(f"filters: {column!r} {sign} takes one value, got {shown(value)}")
    if not _text(value).strip():
        raise ConfigError(_no_value(repr(column), sign))
    if sign == "contains":
        found = (
            catalogue.items[column].cast(pl.String).str.to_lowercase().str.contains(_text(value).lower(), literal=True)
        )
        return found.fill_null(False).to_numpy()
    return _ordered(catalogue.items[column], column, sign, value)


def _equal(catalogue: Catalogue, column: str, value: Any) -> BoolArray:
    cells = catalogue.items[column]
    if value is None or value == "":
        return (cells.is_null() | (cells.cast(pl.String) == "").fill_null(False)).to_numpy()
    if column == SEVERAL:
        return np.fromiter((_text(value) in own for own in catalogue.categories), np.bool_, len(catalogue))
    same = cells.cast(pl.String) == _text(value)
    number = _number(value)
    if number is not None:
        same = same.fill_null(False) | (cells.cast(pl.Float64, strict=False) == number)
    return same.fill_null(False).to_numpy()


def _ordered(cells: pl.Series, column: str, sign: str, value: Any) -> BoolArray:
    number = _number(value)
    numbers = cells.cast(pl.Float64, strict=False)
    if number is None:
        known = numbers.drop_nulls()
        if cells.dtype != pl.Boolean and len(known) > len(cells.drop_nulls()) / 2:
            raise ConfigError(
                f"filters: {column!r} {sign} {shown(value)}: the column holds numbers (e.g. {known[0]:g}), and "
                f"{shown(value)} is none; give a number"
            )
        return ORDERED[sign](cells.cast(pl.String), _text(value)).fill_null(False).to_numpy()
    if numbers.null_count() == len(numbers) > cells.null_count():
        raise DataError(
            f"filters: {column!r} {sign} {shown(value)} compares numbers, and no cell of the column is one "
            f"(e.g. {shown(cells.drop_nulls()[0])})"
        )
    return ORDERED[sign](numbers, number).fill_null(False).to_numpy()


def _no_value(what: str, sign: str) -> str:
    return f"filters: {what} has no value behind {sign}; write e.g. year>=1990, title contains star"


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
