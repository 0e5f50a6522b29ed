"""Filters for the items of a list, by any column of the catalogue.

A filter is an expression in one text (:mod:`interlingua.data.expression`), or ``{column: condition}`` (the catalogue's
or the source's name of a column); an item passes if it meets every condition::

    {"categories": "Comedy"}                     one of its categories is Comedy
    {"categories": ["Comedy", "Drama"]}          any of these
    {"brand": ("!=", "Acme")}                    an operator and a value
    {"year>=": 1990, "title contains": "star"}   the same, written in the key (as JSON and the command line can)

Operators: ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=`` and ``contains`` (a part of the text, in any case; of the
categories one that is it). A condition means what the same expression means (:mod:`interlingua.data.comparisons`). An
item without a value passes ``!=`` only; ``None`` (or an empty text) means exactly that: ``{"brand": None}`` has none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from interlingua.data.catalogue import Catalogue
from interlingua.data.cells import EQUAL, ORDERED, BoolArray, no_value
from interlingua.data.comparisons import Comparisons, UnfitError, Value
from interlingua.data.expression import parsed
from interlingua.errors import ConfigError, DataError, shown, unknown
from interlingua.runtime import cancel

Filters = Mapping[str, Any] | str
OPERATORS = (*EQUAL, *ORDERED, "contains")
IN_KEY = re.compile(r"(?P<column>.+?)\s*(?P<operator>!=|<=|>=|=|<|>|\scontains)\s*", re.S)


def passing(catalogue: Catalogue, filters: Filters) -> list[tuple[str, BoolArray]]:
    """Each condition in words, and the (I,) mask of items that meet it; an item must meet all.

    Raises:
        ConfigError: neither a text nor a mapping, an expression that cannot be read, an unknown operator, or a value
            that cannot be compared.
        DataError: a column that the catalogue does not have.
    """
    if isinstance(filters, str):
        return parsed(catalogue, filters)
    if not isinstance(filters, Mapping):
        raise ConfigError(
            f"filters is {shown(filters)}; give an expression, e.g. 'price < 20 and not sold_out', or a mapping, e.g. "
            "{'categories': 'Comedy'}"
        )
    out, comparisons = [], Comparisons(catalogue)
    for key, condition in filters.items():
        cancel.check()
        column, sign, value = _condition(catalogue, key, condition)
        out.append((f"{column} {sign} {shown(value)}", _meets(comparisons, column, sign, value)))
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
        raise ConfigError(no_value(repr(text), sign))
    return found[0].strip(), value


def _meets(comparisons: Comparisons, column: str, sign: str, value: Any) -> BoolArray:
    """(I,) items that meet one condition: what the same expression says."""
    several = isinstance(value, list | set | frozenset | tuple | pl.Series | np.ndarray)
    values = [_plain(column, sign, each) for each in value] if several else [_plain(column, sign, value)]
    try:
        if sign in EQUAL:
            same = comparisons.equal(column, values)
            return same if sign == "=" else ~same
        if several or value is None:
            raise ConfigError(f"filters: {column!r} {sign} takes one value, got {shown(value)}")
        if not str(value).strip():
            raise ConfigError(no_value(repr(column), sign))
        if sign == "contains":
            return comparisons.part(column, str(value))
        return comparisons.ordered(column, sign, values[0])
    except UnfitError as error:
        wrong = values[error.place]
        raise ConfigError(f"filters: {column!r} {sign} {shown(wrong)}: {error}") from None


def _plain(column: str, sign: str, value: Any) -> Value:
    """A value as an expression can have it."""
    if isinstance(value, np.generic):
        own = value.item()
        value = own if isinstance(own, str | int | float) else str(value)  # dates
    if not isinstance(value, str | int | float | None):
        raise ConfigError(f"filters: {column!r} has the value {shown(value)}; give a text or a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"filters: {column!r} {sign} {shown(value)}; give a finite number, or None for no value")
    return value


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
