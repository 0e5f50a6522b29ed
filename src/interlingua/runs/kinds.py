"""Whether a new item's attribute is of its column's kind: a text where all prices are numbers is a mistake.

Only the columns of the run's own data tell of what kind they are: numbers (all cells are, and none is a code such as
``007``), or yes and no. Texts take anything, and so do columns that came after training.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import polars as pl

from interlingua.data.catalogue import Catalogue
from interlingua.data.cells import empty
from interlingua.data.kinds import YES_NO, how_many_numbers, yes_no
from interlingua.data.raw import ITEM_COLUMNS
from interlingua.errors import DataError, shown

CODES = r"^\s*0\d"
"""beginning of a code that looks like a number"""


class Kind(NamedTuple):
    """What a column holds."""

    words: str
    """in an error; empty: anything"""
    example: str = ""


class Kinds:
    """The kinds of a catalogue's columns, each found when it is first asked for."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._kind = cache(self._found)

    def check(self, lines: pl.DataFrame) -> None:
        """Compares the values of items with their columns.

        Args:
            lines: (n) of the catalogue; cells that are null or empty say nothing.

        Raises:
            DataError: a value of another kind; the message names item, column and value.
        """
        for column in self._catalogue.items.columns:
            if column in ITEM_COLUMNS or column not in lines.columns:
                continue
            given = lines.select("item_id", column).drop_nulls().filter(pl.col(column) != "")
            for item, value in given.iter_rows():
                kind = self._kind(column)
                if not kind.words or _is(value, kind.words):
                    continue
                name = self._catalogue.names.get(column, column)
                raise DataError(
                    f"item {shown(item)}: {name} is {shown(value)}, and the column {name!r} holds {kind.words} (e.g. "
                    f"{shown(kind.example)}); give one of these, or null for none"
                )

    def _found(self, column: str) -> Kind:
        cells = self._catalogue.items[column]
        filled = cells.cast(pl.String).filter(pl.Series(~empty(cells)))
        if not len(filled):
            return Kind("")
        if how_many_numbers(column, cells) == "all":
            return Kind("" if filled.str.contains(CODES).any() else NUMBERS, filled[0])
        return Kind("" if yes_no(cells) is None else SWITCHES, filled[0])


NUMBERS, SWITCHES = "numbers", "yes and no"


def _is(value: str, words: str) -> bool:
    if words == SWITCHES:
        return value.strip().lower() in YES_NO
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
