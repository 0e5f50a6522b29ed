"""Which items a comparison holds for: the one meaning that both forms of filters compile to.

An expression (:mod:`interlingua.data.expression`) and a mapping (:mod:`interlingua.data.allowed`) read their own syntax
and ask here, so that ``sold_out != true`` and ``{"sold_out!=": true}`` are the same items, or the same refusal.

What a value means goes by its column. In one of yes and no, ``true``, ``"yes"``, ``"1"`` and 1 are yes, and any other
value is refused; one whose cells are all numbers, 0 and 1 among them, is compared by number, and takes ``true``,
``false``, ``"yes"`` and ``"no"`` too where it has no other numbers than these.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, reduce

import numpy as np
import polars as pl

from interlingua.data.catalogue import Catalogue
from interlingua.data.cells import SEVERAL, BoolArray, contains, empty, equal, ordered
from interlingua.data.kinds import YES_NO, how_many_numbers, yes_no
from interlingua.errors import ConfigError, shown

Value = str | int | float | bool | None


class UnfitError(ConfigError):
    """A value that its column cannot be compared with; ``place``: which of the values."""

    def __init__(self, said: str, place: int = 0) -> None:
        super().__init__(said)
        self.place = place


class Comparisons:
    """Comparisons with the columns of one catalogue; each column is looked through once. Values are finite."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._yes_no = cache(lambda column: yes_no(catalogue.items[column]))
        self._numbers = cache(lambda column: how_many_numbers(column, catalogue.items[column]))

    def equal(self, column: str, values: Sequence[Value]) -> BoolArray:
        """(I,) items with any of the values; None and an empty text: without one.

        Raises:
            UnfitError: a value that the column cannot have: a text in one of numbers, neither yes nor no in one of
                these, ``true`` or ``false`` in any other.
        """
        said = self._yes_no(column)
        same, rest = dict[bool, BoolArray](), []
        for place, value in enumerate(values):
            meant = self._meant(column, value, place)
            if isinstance(meant, bool):
                if said is None:
                    raise UnfitError(f"the column {column!r} is not one of yes and no{self.for_example(column)}", place)
                if meant not in same:
                    same[meant] = (said == meant).fill_null(False).to_numpy()
                continue
            if isinstance(meant, str) and meant and self._numbers(column) == "all" and number_of(meant) is None:
                raise UnfitError(f"the column {column!r} holds numbers{self.for_example(column)}", place)
            rest.append(meant)
        found = [*same.values(), *([equal(self.catalogue, column, rest)] if rest else [])]
        return reduce(np.logical_or, found, np.zeros(len(self.catalogue), np.bool_))

    def ordered(self, column: str, sign: str, value: Value) -> BoolArray:
        """(I,) items below or above a value (``<``, ``<=``, ``>``, ``>=``), by number where both are, else by text.

        Raises:
            UnfitError: no value, yes or no, or one that the column cannot be compared with.
        """
        if value is None or isinstance(value, bool) or (isinstance(value, str) and not value.strip()):
            raise UnfitError(f"behind {sign} a number or a text was expected, and not an empty one")
        numbers, number = self._numbers(column), number_of(value)
        if self._is_yes_no(column):
            raise UnfitError(f"the column {column!r} is one of yes and no, which have no order")
        if numbers in ("all", "most") and number is None:
            raise UnfitError(f"the column {column!r} holds numbers{self.for_example(column)}")
        if numbers == "none" and isinstance(value, int | float):
            raise UnfitError(
                f"the column {column!r} holds no number{self.for_example(column)}; a text stands in quotes"
            )
        return ordered(self.catalogue.items[column], column, sign, value)

    def part(self, column: str, text: str) -> BoolArray:
        """(I,) items with that part of the text, in any case; of the categories one that is it."""
        if column == SEVERAL:
            return equal(self.catalogue, column, [text])
        return contains(self.catalogue.items[column], text)

    def yes(self, column: str) -> BoolArray:
        """(I,) items whose cell says yes.

        Raises:
            UnfitError: the column is not one of yes and no.
        """
        found = self._yes_no(column)
        if found is None:
            raise UnfitError(f"the column {column!r} is not one of yes and no{self.for_example(column)}")
        return found.fill_null(False).to_numpy()

    def for_example(self, column: str) -> str:
        """A value of the column, in words."""
        cells = self.catalogue.items[column]
        filled = cells.filter(pl.Series(~empty(cells)))
        return f" (e.g. {shown(filled[0])})" if len(filled) else " (it has no values)"

    def _is_yes_no(self, column: str) -> bool:
        """Whether the column has values, all of them yes or no, and not all of them numbers."""
        said = self._yes_no(column)
        return said is not None and bool(said.count()) and self._numbers(column) != "all"

    def _meant(self, column: str, value: Value, place: int) -> Value:
        """The value as the column has it: in one of yes and no true or false."""
        if value is None or value == "" or isinstance(value, bool):
            return value
        said = self._yes_no(column)
        found = YES_NO.get(str(value).strip().lower()) if said is not None and said.count() else None
        if self._is_yes_no(column):
            if found is None:
                raise UnfitError(f"the column {column!r} is one of yes and no{self.for_example(column)}", place)
            return found
        return found if found is not None and number_of(value) is None else value


def number_of(value: str | int | float) -> float | None:
    """The value as a finite number; None: it is none."""
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if np.isfinite(found) else None
