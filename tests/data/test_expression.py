"""Filters as an expression: each form by hand, any expression against a plain evaluation, and errors at their place."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.test_allowed import ITEMS

from interlingua.data import comparisons, expression, kinds
from interlingua.data.allowed import passing
from interlingua.data.catalogue import Catalogue
from interlingua.errors import ConfigError, DataError
from interlingua.runtime.cancel import Cancellation, Cancelled, cancellable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("year >= 1979 and stock", ""),
        ("stock", "ad"),
        ("not stock", "bc"),
        ("stock == false", "b"),
        ("stock is None", "c"),
        ("stock in [True, null]", "acd"),
        ('"STAR" in title', "ab"),
        ('"star" not in title', "cd"),
        ('"Sci-Fi" in categories', "ac"),
        ('"Sci" in categories', ""),
        ('category in ["Drama", "Action"]', "ab"),
        ('categories == "Sci-Fi" and year == 1979', "c"),
        ('categories != "Sci-Fi"', "bd"),
        ("year in [1977, '2007']", "ab"),
        ("not (year in [1977] or price is None)", "bd"),
        ("9 < price <= 20", "ab"),
        ("20 >= price", "abd"),
        ("not price < 20", "bc"),
        ("price > -1", "abd"),
        ("price == +9.5", "a"),
        ('day >= "1978-01-01"', "bc"),
        ("day is not None", "abc"),
        ("day >= 1978-01-01", "bc"),
        ("1978-01-01 <= day and not day in [2020-12-31]", "bc"),
        ('"1978-01-01" in title', ""),
        ('column("odd>=") == "x"', "acd"),
        ("item_id in ['a', 'd']", "ad"),
        ("item_id in []", ""),
        ("title\n  == 'Alien'", "c"),
        ("true", "abcd"),
        ("false or stock", "ad"),
    ],
)
def test_what_passes(text: str, expected: str) -> None:
    ids = ITEMS.items["item_id"].to_list()
    mask = np.logical_and.reduce([each for _, each in passing(ITEMS, text)])
    assert "".join(name for name, good in zip(ids, mask, strict=True) if good) == expected


def test_what_and_joins_on_top_is_told_apart() -> None:
    assert [said for said, _ in passing(ITEMS, "stock and (price < 9 or year > 1)")] == [
        "stock",
        "price < 9 or year > 1",
    ]


@pytest.mark.parametrize(
    ("text", "said", "place"),
    [
        ("pric < 3", r"unknown column 'pric' in filters; did you mean 'price'\? \(9 known: item_id", "^^^^"),
        ('price < 3 and "é" in titel', "unknown column 'titel'", " " * 21 + "^^^^^"),
        ("title == Alien", 'Alien is no column; a text stands in quotes: "Alien"', " " * 9 + "^^^^^"),
        ("`Alien 3` != title", 'a text stands in quotes: "Alien 3"', "^" * 9),
        ("year = 3", r"write == for equal", " " * 5 + "^"),
        ("(year < 3", r"'\(' was never closed", "^"),
        ("year <", "cannot be read here", " " * 6 + "^"),
        ('year < "soon"', r"the column 'year' holds numbers \(e.g. '1977'\)", " " * 7 + "^^^^^^"),
        ('price in [1, "x"]', "the column 'price' holds numbers", " " * 13 + "^^^"),
        ("title < 5", "the column 'title' holds no number .* a text stands in quotes", " " * 8 + "^"),
        ("stock and title", "the column 'title' is not one of yes and no", " " * 10 + "^^^^^"),
        ('stock == "x"', "the column 'stock' is one of yes and no", " " * 9 + "^^^"),
        ("title == true", "not one of yes and no", " " * 9 + "^^^^"),
        ("price < year", "two columns cannot be compared", " " * 8 + "^^^^"),
        ("price < None", "behind < a number or a text was expected", " " * 8 + "^^^^"),
        ("price is 3", "after 'is' only None", " " * 9 + "^"),
        ("price in 3", "a list was expected here", " " * 9 + "^"),
        ("3 in price", "before 'in price' a text in quotes was expected", "^"),
        ("1 == 1", "a column was expected on one side", "^"),
        ("price < ''", "a number or a text was expected, and not an empty one", " " * 8 + "^^"),
        ("'' in title", "a text in quotes was expected, and not an empty one", "^^"),
        ("price < 1e999", "this number is too large; the largest is about 1.8e308", " " * 8 + "^^^^^"),
        ("price == -1e999", "this number is too large", " " * 10 + "^^^^^"),
        ("price in [1, 1e999]", "this number is too large", " " * 13 + "^^^^^"),
        (f"price < {'9' * 310}", "this number is too large", " " * 8 + "^" * 310),
        ("stock & year", "calculations are not read", "^" * 12),
        ("__import__('os')", "only names of columns", "^" * 16),
        ("title.upper == 3", "only names of columns", "^" * 11),
        ("price == [1]", "a number, a text in quotes, true, false or None was expected here", " " * 9 + "^^^"),
        ("price", "the column 'price' is not one of yes and no", "^^^^^"),
        ("3", "a condition was expected here", "^"),
        ("day > 2020-1-5", "a date is written 2020-12-31, with a time in quotes", " " * 6 + "^" * 8),
        ("day > 2020/12/31", "a date is written 2020-12-31", " " * 6 + "^" * 10),
        ("day > 2020-13-45", "a date is written 2020-12-31", " " * 6 + "^" * 10),
        ("day > 05.01.2020", "a date is written 2020-12-31", " " * 11 + "^"),
        ("day > 2020-01-05 10:00", "a date is written 2020-12-31", " " * 11 + "^"),
        ("price < 2-1", "calculations are not read", " " * 8 + "^^^"),
    ],
)
def test_a_mistake_is_shown_at_its_place(text: str, said: str, place: str) -> None:
    with pytest.raises((ConfigError, DataError), match=said) as caught:
        passing(ITEMS, text)
    _, line, marks = str(caught.value).rsplit("\n", 2)
    assert (line, marks) == (f"  {text}", f"  {place}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" ", "an empty expression"),
        ("price < " + "9" * 5000, r"a number with too many digits\); write e.g."),
        ("not " * 3000 + "stock", "nested too deep"),
        ("(" * 300 + "stock" + ")" * 300, "too many nested parentheses"),
        ("title == '" + "x" * 100_001 + "'", "at most 100,000 are read"),
        ("a\0b", "filters: "),
        ("price == " + "9" * 5000, "filters: "),
        (" or ".join(["not (1 < price < 2)"] * 50) + " and stock", "101 conditions; at most 100 are read"),
    ],
)
def test_texts_that_would_break_a_parser_are_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        passing(ITEMS, text)


ODD = Catalogue(
    pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "title": ["Ä", "B", "C"],
            "description": [None] * 3,
            "categories": [None] * 3,
            "price €": [9.5, 20.0, None],
            "my col": ["x", "`y`", "x"],
            "in": [1, 2, 3],
            "it's 2020-12-31": [True, False, None],
            "true": ["yes", "no", "no"],
        }
    )
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`price €` < 20", "a"),
        ("9 <= `price €` <= 20 and `my col` == 'x'", "a"),
        ("'x' in `my col` and not `price €` < 10", "c"),
        ("`my col` in ['`y`', \"it's\"]", "b"),
        ("`in` in [1, 3]", "ac"),
        ("`it's 2020-12-31`", "a"),
        ("not `it's 2020-12-31` and title != '`price €`'", "bc"),
        ("`true` == 'yes'", "a"),
        ("`title` == 'Ä' or (`my col` != 'x')", "ab"),
        ("`price €` is None", "c"),
    ],
)
def test_a_name_in_back_quotes_may_have_any_characters(text: str, expected: str) -> None:
    found = passing(ODD, text)
    mask = np.logical_and.reduce([each for _, each in found])
    assert "".join(name for name, good in zip("abc", mask, strict=True) if good) == expected
    assert " and ".join(said for said, _ in found) == text  # as it was written


@pytest.mark.parametrize(
    ("text", "said", "place"),
    [
        ("price € < 20", "a name that is no single word stands in back quotes: `its name`", " " * 6 + "^"),
        ("my col == 'x'", "a name that is no single word stands in back quotes", " " * 3 + "^"),
        ("`price $` < 3", "unknown column 'price $' in filters; did you mean 'price €'", "^" * 9),
        ("`price €` < 20 and titel == 'x'", "unknown column 'titel'", 19 * " " + "^^^^^"),
        ("`price €` < 'ü' and title ==", "cannot be read here", 28 * " " + "^"),
        ("title == `my col`", "two columns cannot be compared", 9 * " " + "^" * 8),
        ("title in [`nobody`]", "a text stands in quotes; unknown column 'nobody'", 10 * " " + "^" * 8),
        ("`price €", "stands in back quotes", " " * 7 + "^"),
        ("`price €`x < 3", "stands in back quotes", " " * 7 + "^"),
        ("`` < 3", "stands in back quotes", "^"),
        ("`my col`", "e.g. `my col` == ", "^" * 8),
    ],
)  # fmt: skip
def test_a_mistake_beside_names_in_back_quotes_is_shown_at_its_place(text: str, said: str, place: str) -> None:
    with pytest.raises((ConfigError, DataError)) as caught:
        passing(ODD, text)
    assert said in str(caught.value)
    _, line, marks = str(caught.value).rsplit("\n", 2)
    assert (line, marks) == (f"  {text}", f"  {place}")


def test_a_column_is_looked_through_once_for_all_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    plain = kinds.empty
    monkeypatch.setattr(kinds, "empty", lambda cells: looked.append(cells.name) or plain(cells))
    counts = []
    for number in (1, 25):
        looked.clear()
        passing(ITEMS, " and ".join(["year > 1", "year == 2", "stock == true", "stock in [1, false]"] * number))
        counts.append(sorted(looked))
    assert counts[0] == counts[1]
    assert set(counts[0]) == {"year", "stock"}


def test_a_value_of_yes_and_no_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    plain = pl.Series.__eq__
    monkeypatch.setattr(pl.Series, "__eq__", lambda cells, other: looked.append(other) or plain(cells, other))
    passing(ITEMS, f"stock in [{', '.join(['true', 'false'] * 500)}]")
    assert [value for value in looked if isinstance(value, bool)] == [True, False]


def test_the_text_is_cut_once_for_all_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where characters have several bytes; the parser's own way splits the whole text for every part."""
    parts = [f"""title == "é{"ü" * number}😀" """.strip() for number in range(98)] + ["(stock or price < 3)"]
    monkeypatch.delattr(expression.ast, "get_source_segment")
    found = passing(ITEMS, " and ".join(parts))
    assert [said for said, _ in found] == [*parts[:-1], "stock or price < 3"]


@pytest.mark.parametrize(
    "filters", ["year > 1 and year > 2 and year > 3", "1 < year < 2 < year", {"year>": 1, "year<": 2}]
)
def test_reading_ends_between_two_conditions_when_nobody_waits(monkeypatch: pytest.MonkeyPatch, filters: Any) -> None:
    wanted, plain, done = Cancellation(), comparisons.ordered, []

    def counted(*given: Any) -> Any:
        done.append(given)
        wanted.cancel()
        return plain(*given)

    monkeypatch.setattr(comparisons, "ordered", counted)
    with cancellable(wanted), pytest.raises(Cancelled):
        passing(ITEMS, filters)
    assert len(done) == 1


COMPARE = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
NUMBERS, COLOURS, GENRES = [0, 1, 2.5, 10, -3], ["red", "Green", "b'lue", "x|y"], ["A", "B", "C d"]
columns = st.fixed_dictionaries(
    {
        "price": st.none() | st.sampled_from(NUMBERS).map(float),
        "colour": st.none() | st.sampled_from(COLOURS),
        "sold_out": st.none() | st.booleans(),
        "categories": st.none() | st.lists(st.sampled_from(GENRES), min_size=1, unique=True),
    }
)
leaves = st.one_of(
    st.tuples(st.just("price"), st.sampled_from(list(COMPARE)), st.sampled_from(NUMBERS)),
    st.tuples(st.just("colour"), st.sampled_from(["==", "!="]), st.sampled_from(COLOURS)),
    st.tuples(st.just("categories"), st.sampled_from(["==", "!="]), st.sampled_from(GENRES)),
    st.tuples(st.just("price"), st.sampled_from(["in", "not in"]), st.lists(st.sampled_from(NUMBERS))),
    st.tuples(st.just("colour"), st.sampled_from(["in", "not in"]), st.lists(st.sampled_from(COLOURS))),
    st.tuples(st.just("categories"), st.sampled_from(["in", "not in"]), st.lists(st.sampled_from(GENRES))),
    st.tuples(st.sampled_from(["price", "colour", "categories"]), st.sampled_from(["is", "is not"]), st.none()),
    st.tuples(st.just("sold_out"), st.just(""), st.none()),
)
trees = st.recursive(
    leaves, lambda below: st.tuples(st.just("not"), below) | st.tuples(st.sampled_from(["and", "or"]), below, below)
)


def written(tree: Any) -> str:
    if tree[0] == "not":
        return f"not ({written(tree[1])})"
    if tree[0] in ("and", "or"):
        return f"({written(tree[1])}) {tree[0]} ({written(tree[2])})"
    column, sign, value = tree
    return f"{column} {sign} {value!r}" if sign else column


def holds(tree: Any, item: dict[str, Any]) -> bool:
    """One item, by the words of the page and no array."""
    if tree[0] == "not":
        return not holds(tree[1], item)
    if tree[0] in ("and", "or"):
        both = holds(tree[1], item), holds(tree[2], item)
        return all(both) if tree[0] == "and" else any(both)
    column, sign, value = tree
    cell = item[column]
    if not sign:
        return cell is True
    if sign in ("is", "is not"):
        return (cell is None) == (sign == "is")
    if sign in ("!=", "not in"):
        return not holds((column, {"!=": "==", "not in": "in"}[sign], value), item)
    if cell is None:
        return False
    own = cell if isinstance(cell, list) else [cell]
    if sign == "in":
        return any(each in own for each in value)
    return value in own if sign == "==" else COMPARE[sign](cell, value)


@settings(max_examples=150)
@given(st.lists(columns, min_size=1, max_size=6), trees)
def test_any_expression_as_a_plain_evaluation(cells: list[dict[str, Any]], tree: Any) -> None:
    frame = pl.DataFrame(
        {
            "item_id": [f"i{number}" for number in range(len(cells))],
            "title": [None] * len(cells),
            "categories": [None if c["categories"] is None else "|".join(c["categories"]) for c in cells],
            "price": pl.Series([c["price"] for c in cells], dtype=pl.Float64),
            "colour": pl.Series([c["colour"] for c in cells], dtype=pl.String),
            "sold_out": pl.Series([c["sold_out"] for c in cells], dtype=pl.Boolean),
        }
    )
    mask = np.logical_and.reduce([each for _, each in passing(Catalogue(frame), written(tree))])
    assert mask.tolist() == [holds(tree, each) for each in cells]
