"""Filters as one text: ``category in ["A", "B"] and price < 20 and not sold_out``, read into masks of items.

The syntax is Python's own, read by its parser; nothing is executed, and what is not listed here is refused with its
place in the text::

    price < 20        10 <= price < 20       year == 1999       brand != "Acme"
    brand in ["Acme", "Globex"]              category not in ["Horror"]
    "star" in title                          a part of the text, in any case; of the categories: one of them
    sold_out          not sold_out           a column of yes and no
    brand is None     brand is not None      without, with a value
    (a or b) and not c                       `price €` < 20, column("Release year") > 1990: any name
    released >= 2020-12-31                   a date needs no quotes

``category == "A"`` means that A is one of the categories. A comparison with an item that has no value is false, only
``!=`` and ``not in`` are true; ``not`` turns what stands behind it round: ``not price < 20`` holds for an item
without a price, ``price >= 20`` does not. ``true``, ``false`` and ``null`` are read too.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cached_property, reduce
from typing import NoReturn

import numpy as np

from interlingua.data.catalogue import Catalogue
from interlingua.data.cells import BoolArray
from interlingua.data.comparisons import Comparisons, UnfitError, Value, number_of
from interlingua.data.dates_in_text import LIKE_DATES, with_quotes
from interlingua.data.quoted_names import place_in, without_back_quotes, written
from interlingua.errors import ConfigError, DataError, unknown
from interlingua.runtime import cancel

LONGEST = 100_000
"""characters of an expression; a long list of ids is what ``items=`` and ``exclude=`` are for"""
MOST = 100
"""conditions of an expression: each reads its column once"""
SIGNS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
WORDS = {"true": True, "false": False, "null": None}
"""JSON's words beside Python's"""
CALL = "column"
"""``column("a name")``"""


def parsed(catalogue: Catalogue, text: str) -> list[tuple[str, BoolArray]]:
    """The conditions that ``and`` joins on top, each as it is written with its (I,) mask; an item must meet all.

    Raises:
        ConfigError: the text cannot be read, has more than :data:`MOST` conditions, or a value does not fit its
            column; the message shows the place.
        DataError: a column that the catalogue does not have.
        Cancelled: between two conditions, if nobody waits for the answer any more.
    """
    if len(text) > LONGEST:
        raise ConfigError(f"filters: an expression of {len(text):,} characters; at most {LONGEST:,} are read")
    line = with_quotes(" ".join(text.splitlines()).strip())
    if not line:
        raise ConfigError(f"filters: an empty expression; write e.g. {EXAMPLE}")
    plain, names = without_back_quotes(line)
    try:
        body = ast.parse(plain, mode="eval").body
        parts = body.values if isinstance(body, ast.BoolOp) and isinstance(body.op, ast.And) else [body]
        if (number := _conditions(body)) > MOST:
            raise ConfigError(
                f"filters: an expression of {number:,} conditions; at most {MOST} are read. For any of several values "
                "of a column write column in [...], for a list of ids give items or exclude"
            )
        reading = _Reading(catalogue, line, names)
        return [(reading.written(part), reading.mask(part)) for part in parts]
    except SyntaxError as error:
        at = place_in(line, plain, error.offset - 1) if error.offset else len(line)  # 0: at the end
        raise ConfigError(_unreadable(catalogue, line, at, error.msg)) from None
    except (RecursionError, MemoryError):
        raise ConfigError(
            "filters: the expression is nested too deep; for any of several values write in [...]"
        ) from None
    except ValueError as error:  # the parser's words on characters that no source has
        raise ConfigError(f"filters: {error}") from None


DATES = 'a date is written 2020-12-31, with a time in quotes: "2020-12-31 18:00"'
EXAMPLE = '\'category in ["A", "B"] and price < 20 and not sold_out\''


def _unreadable(catalogue: Catalogue, line: str, at: int, said: str) -> str:
    """The message for a text that is no expression, with its place in the text."""
    why = "write == for equal" if "==" in said or line[at : at + 1] == "=" else f"write e.g. {EXAMPLE}"
    odd = [name for name in catalogue.items.columns if written(name) != name]
    if "invalid character" in said or line[at : at + 1] == "`" or any(name in line for name in odd):
        why = NAMES
    if LIKE_DATES.search(line, max(0, at - 10), at + 11):
        why = DATES
    said = "a number with too many digits" if "int_max_str_digits" in said else said
    return _pointed(f"filters: cannot be read here ({said}); {why}", line, at, at + 1)


def _conditions(node: ast.expr) -> int:
    """How many conditions an expression joins; ``1 < price < 2`` are two."""
    if isinstance(node, ast.BoolOp):
        return sum(map(_conditions, node.values))
    if isinstance(node, ast.UnaryOp):
        return _conditions(node.operand)
    return len(node.ops) if isinstance(node, ast.Compare) else 1


class _Reading:
    """Masks of the parts of one expression."""

    def __init__(self, catalogue: Catalogue, line: str, names: Mapping[int, str]) -> None:
        """``names`` in back quotes, by the byte at which each begins."""
        self.catalogue, self.line, self.names = catalogue, line, names
        self._bytes = line.encode()  # the parser counts these
        self.comparisons = Comparisons(catalogue)

    def written(self, node: ast.expr) -> str:
        """The text of a part."""
        return self._bytes[node.col_offset : node.end_col_offset].decode()

    def mask(self, node: ast.expr) -> BoolArray:
        """(I,) items for which a condition holds."""
        cancel.check()
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return reduce(join, map(self.mask, node.values))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.mask(node.operand)
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
            return reduce(np.logical_and, map(self._compared, operands, node.ops, operands[1:]))
        value = WORDS.get(node.id) if isinstance(node, ast.Name) and not self._known(self._name(node)) else None
        if isinstance(node, ast.Constant) and isinstance(node.value, bool):
            value = node.value
        if value is not None:
            return np.full(len(self.catalogue), value)
        name = self._column(node)
        if name is not None:
            return self._yes(node, name)
        if isinstance(node, ast.BinOp):
            self._fail(node, "calculations are not read; join conditions with and, or; " + NAMES)
        self._fail(node, "a condition was expected here: a comparison, a column of yes and no, not, and, or")

    def _compared(self, left: ast.expr, sign: ast.cmpop, right: ast.expr) -> BoolArray:
        cancel.check()
        self._quoted(left, right)
        name, other = self._column(left), self._column(right)
        if name is not None and other is not None:
            self._fail(right, "two columns cannot be compared; a text stands in quotes")
        if isinstance(sign, ast.In | ast.NotIn):
            found = self._part(left, right, other) if other is not None else self._any_of(left, name, right)
            return found if isinstance(sign, ast.In) else ~found
        if name is None and other is None:
            self._fail(left, "a column was expected on one side")
        column, at = (name, right) if name is not None else (other, left)
        assert column is not None
        value = self._value(at)
        if isinstance(sign, ast.Is | ast.IsNot) and value is not None:
            self._fail(at, "after 'is' only None can stand; write == for equal")
        if isinstance(sign, ast.Eq | ast.Is):
            return self._equal(column, [(value, at)])
        if isinstance(sign, ast.NotEq | ast.IsNot):
            return ~self._equal(column, [(value, at)])
        order = SIGNS[type(sign)]
        return self._ordered(column, order if name is not None else TURNED[order], value, at)

    def _part(self, left: ast.expr, right: ast.expr, column: str) -> BoolArray:
        """``"star" in title``."""
        value = self._value(left)
        if not isinstance(value, str) or not value.strip():
            self._fail(left, f"before 'in {column}' a text in quotes was expected, and not an empty one")
        return self.comparisons.part(column, value)

    def _any_of(self, left: ast.expr, column: str | None, right: ast.expr) -> BoolArray:
        """``brand in ["Acme", "Globex"]``."""
        if column is None:
            self._fail(left, "a column was expected here")
        if not isinstance(right, ast.List | ast.Tuple | ast.Set):
            self._fail(right, "a list was expected here, e.g. [1, 2]")
        return self._equal(column, [(self._value(each), each) for each in right.elts])

    def _equal(self, column: str, values: list[tuple[Value, ast.expr]]) -> BoolArray:
        try:
            return self.comparisons.equal(column, [value for value, _ in values])
        except UnfitError as error:
            self._fail(values[error.place][1], str(error))

    def _ordered(self, column: str, sign: str, value: Value, at: ast.expr) -> BoolArray:
        try:
            return self.comparisons.ordered(column, sign, value)
        except UnfitError as error:
            self._fail(at, str(error))

    def _yes(self, node: ast.expr, column: str) -> BoolArray:
        try:
            return self.comparisons.yes(column)
        except UnfitError as error:
            self._fail(node, f'{error}; compare it, e.g. {written(column)} == "..."')

    def _value(self, node: ast.expr) -> Value:
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
            if isinstance(node.value, int | float) and number_of(node.value) is None:
                self._fail(node, "this number is too large; the largest is about 1.8e308")
            return node.value
        if isinstance(node, ast.Name) and node.id in WORDS:
            return WORDS[node.id]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            value = self._value(node.operand)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.Name):
            self._unknown(node, self._name(node), "a text stands in quotes; ")
        if isinstance(node, ast.BinOp):
            said = DATES if LIKE_DATES.search(self.written(node)) else "calculations are not read"
            self._fail(node, f"{said}; a number, a text in quotes, true, false or None was expected here")
        self._fail(node, "a number, a text in quotes, true, false or None was expected here")

    def _column(self, node: ast.expr) -> str | None:
        """The column that a name stands for; None: it is no name of a column, but perhaps a value."""
        if isinstance(node, ast.Name):
            name = self._known(self._name(node))
            if name is None and node.id not in WORDS:
                self._unknown(node, self._name(node))
            return name
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == CALL:
            if len(node.args) != 1 or node.keywords or not isinstance(node.args[0], ast.Constant):
                self._fail(node, NAMES)
            given = str(node.args[0].value)
            return self._known(given) or self._unknown(node, given)
        if isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
            self._fail(node, f"only names of columns, values and lists are read; {NAMES}")
        return None

    def _quoted(self, left: ast.expr, right: ast.expr) -> None:
        """Refuses ``brand == Acme``: beside a column only a value can stand."""
        for column, word in ((left, right), (right, left)):
            if not (isinstance(column, ast.Name) and isinstance(word, ast.Name) and self._known(self._name(column))):
                continue
            name = self._name(word)
            if self._known(name) is None and word.id not in WORDS:
                self._fail(word, f'{name} is no column; a text stands in quotes: "{name}"')

    def _name(self, node: ast.Name) -> str:
        """What stands there, without back quotes."""
        return self.names.get(node.col_offset, node.id)

    def _known(self, name: str) -> str | None:
        return self.catalogue.column(name)

    @cached_property
    def _names(self) -> list[str]:
        return [*self.catalogue.items.columns, *self.catalogue.names.values()]

    def _unknown(self, node: ast.expr, name: str, hint: str = "") -> NoReturn:
        said = unknown("column", name, self._names, "filters", ", ".join(self.catalogue.named))
        raise DataError(self._at(node, hint + said))

    def _fail(self, node: ast.expr, said: str) -> NoReturn:
        raise ConfigError(self._at(node, f"filters: {said}"))

    def _at(self, node: ast.expr, said: str) -> str:
        end = node.end_col_offset or node.col_offset + 1
        return _pointed(said, self.line, *(len(self._bytes[:at].decode()) for at in (node.col_offset, end)))


NAMES = "a name that is no single word stands in back quotes: `its name`"
SHOWN = 60
"""characters of an expression before and behind the place that an error shows"""


def _pointed(said: str, line: str, start: int, end: int) -> str:
    """The message, the text around the place, and marks below it."""
    first = max(0, start - SHOWN)
    piece = line[first : end + SHOWN]
    marks = " " * (start - first) + "^" * max(1, min(end, len(line)) - start)
    return f"{said}\n  {piece}\n  {marks[: len(piece) + 1]}"
