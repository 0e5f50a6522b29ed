"""Ids that should meet and do not are said at once, with what would join them."""

from __future__ import annotations

import uuid

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlingua.data.clean import CleanConfig
from interlingua.data.describe import describe
from interlingua.data.meeting import number, strip
from interlingua.data.prepare import FilterConfig, prepare
from interlingua.errors import DataError

USERS = ["a", "a", "a", "b", "b", "b"]


def world(items, table, **options):
    events = pl.DataFrame({"user": USERS, "item": items, "time": range(6)})
    titles = pl.DataFrame({"item": table, "title": [f"T{n}" for n in range(len(table))]})
    return prepare({"interactions": events, "items": titles}, quiet=True, **options)


WAYS = {
    "zeros": (["7", "8", "9"] * 2, ["007", "008", "009"], "number"),
    "floats": (["7", "8", "9"] * 2, ["7.0", "8.0", "9.0"], "number"),
    "blanks": (["x", "y", "z"] * 2, [" x", "y ", " z"], "strip"),
}


@pytest.mark.parametrize("keep", ["drop", "keep"])
@pytest.mark.parametrize("way", list(WAYS))
def test_ids_that_never_meet_are_refused_with_the_rule_that_joins_them(way, keep):
    items, table, rule = WAYS[way]
    kept = FilterConfig(items_without_events=keep)
    with pytest.raises(DataError, match=rf"no item id of .* occurs in the events.*clean\.ids = \"{rule}\""):
        world(items, table, filter=kept)
    joined = world(items, table, filter=kept, clean=CleanConfig(ids=rule))
    assert joined.interactions.num_items == 3
    assert joined.catalogue.items["title"].null_count() == 0
    assert joined.card["clean"]["ids"] == rule


def test_the_table_of_another_world_names_an_id_of_each():
    with pytest.raises(DataError, match=r"'x' there, 'B00' here; is it the table of another dataset"):
        world(["x", "y", "z"] * 2, ["B00", "B01"])


def test_users_are_checked_too():
    events = pl.DataFrame({"user": ["1", "1", "2"], "item": ["x", "y", "x"]})
    people = pl.DataFrame({"user": ["u1", "u2"], "profile": ["likes x", "likes y"]})
    with pytest.raises(DataError, match=r"no user id of frame of users occurs"):
        prepare({"interactions": events, "users": people}, quiet=True)


def test_few_that_meet_are_a_warning_with_counts():
    out = world(["1", "2", "3", "4", "1", "2"], ["1", "02", "03", "04"])
    (said,) = [w for w in out.card["warnings"] if "have a row in" in w]
    assert said.startswith("1 of the 4 items with events have a row in")
    assert "4 would meet" in said


def test_blanks_inside_the_events_are_said():
    out = world([" x", "x", "y", "x", "y", "z"], ["x", "y", "z"])
    assert any("' x'" in w and "1 of them are ids without them too" in w for w in out.card["warnings"])


@pytest.mark.parametrize(
    ("items", "table", "said"),
    [
        (["\u00e9", "e\u0301", "x", "y", "z", "\u00e9"], ["x"], r"1 (e.g. 'e\u0301' and '\xe9')"),
        (["K", "\u212a", "x", "e\u0301", "z", "y"], ["x", "\u00e9"], r"2 (e.g. '\u212a' and 'K')"),
        (["\u00e9", "\u00e8", "x", "y", "z", "\u00e9"], ["e", "x"], None),
    ],
)
def test_ids_that_look_alike_stay_apart_and_are_said(items, table, said):
    out = world(items, table, filter=FilterConfig(min_user=0, min_item=0))
    found = [w for w in out.card["warnings"] if "Unicode forms" in w]
    assert len(found) == (said is not None)
    assert said is None or said in found[0]
    assert set(out.interactions.item_ids) == set(items)


@given(st.text(), st.integers(0, 10**30), st.integers(0, 5))
def test_rules_only_touch_what_they_name(text, value, zeros):
    assert strip(pl.Series([text])).to_list()[0] in text
    assert number(pl.Series(["0" * zeros + str(value) + ".00"])).to_list() == [str(value)]
    assert number(pl.Series([f"id{text}x"])).to_list() == [f"id{text}x"]


@pytest.mark.parametrize("as_bytes", [True, False])
def test_uuids_are_read_as_they_are_written(as_bytes):
    known = [uuid.UUID(int=n * 2**100 + 2**127) for n in range(1, 4)] * 2
    values = pl.Series([u.bytes for u in known]) if as_bytes else pl.Series(known, dtype=pl.Object)
    out = prepare(pl.DataFrame({"user": USERS, "item": values, "time": range(6)}), quiet=True)
    assert out.interactions.item_ids.tolist() == sorted({str(u) for u in known})
    assert not as_bytes or out.card["reading"]["bytes of item_id"] == "UUIDs (16 bytes each)"


def test_pandas_bytes_and_other_bytes():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"user": USERS, "item": [b"x", b"y", b"\xff"] * 2, "time": range(6)})
    assert prepare(frame, quiet=True).interactions.item_ids.tolist() == ["78", "79", "ff"]
    frame["item"] = [b"x", b"y", "é".encode()] * 2
    assert prepare(frame, quiet=True).interactions.item_ids.tolist() == ["x", "y", "é"]


def test_ratings_with_blanks_are_numbers():
    out = prepare(
        pl.DataFrame({"user": USERS, "item": ["x", "y", "z"] * 2, "rating": [" 5", "4 ", "3", "", "2.5", " "]}),
        quiet=True,
    )
    assert out.card["reading"]["ratings"] == "numbers from 2.5 to 5"
    assert out.card["reading"]["ids"] == "as they stand"
    assert sorted(r for r in out.interactions.ratings.tolist() if r == r) == [2.5, 3, 4, 5]
    assert not [d for d in out.card["decisions"] if "rating" in d["what"]]


def test_ratings_without_a_threshold_are_warned_about():
    events = pl.DataFrame({"user": USERS, "item": ["x", "y", "z"] * 2, "time": range(6), "rating": [5, 1, 4, 2, 3, 5]})
    assert any("filter.min_rating" in w for w in describe(prepare(events, quiet=True))["warnings"])
    chosen = prepare(events, filter=FilterConfig(min_rating=3), quiet=True)
    assert not any("filter.min_rating" in w for w in describe(chosen)["warnings"])
