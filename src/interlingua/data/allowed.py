"""Filters for the items of a list, by any column of the catalogue.

A filter is an expression in one text (:mod:`interlingua.data.expression`), or ``{column: condition}`` (the catalogue's
or the source's name of a column); an item passes if it meets every condition::

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

import re
from collections.abc import Mapping
from typing import Any

from interlingua.data.catalogue import Catalogue
from interlingua.data.cells import EQUAL, ORDERED, BoolArray, meets, no_value
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
    out = []
    for key, condition in filters.items():
        cancel.check()
        column, sign, value = _condition(catalogue, key, condition)
        out.append((f"{column} {sign} {shown(value)}", meets(catalogue, column, sign, value)))
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
