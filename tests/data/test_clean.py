from __future__ import annotations

import polars as pl
import pytest

from interlingua.data.clean import CleanConfig, align_texts, clean_events, clean_texts
from interlingua.data.raw import Log, SourceTables
from interlingua.errors import DataError


def raw(**columns):
    return SourceTables(pl.DataFrame(columns, strict=False), where="events.csv")


def cleaned(config=None, **columns):
    log = Log(quiet=True)
    frame, kind = clean_events(raw(**columns), config or CleanConfig(max_bad_share=1), log)
    return frame, kind, log


def decisions(log):
    return {d["what"]: d["count"] for d in log.decisions}


def test_missing_columns_are_named_with_what_is_there():
    with pytest.raises(DataError, match=r"no column for item_id; it has user_id, thing; .*columns\.item_id"):
        cleaned(user_id=["a"], thing=["x"])


def test_columns_are_named_as_the_file_has_them():
    found = SourceTables(pl.DataFrame({"user_id": ["a"], "thing": ["x"]}), where="f.csv", columns={"user_id": "Kunde"})
    with pytest.raises(DataError, match=r"no column for item_id; it has Kunde, thing; "):
        clean_events(found, CleanConfig(), Log(quiet=True))


def test_no_rows_is_an_error():
    with pytest.raises(DataError, match="holds no events"):
        cleaned(user_id=pl.Series([], dtype=pl.String), item_id=pl.Series([], dtype=pl.String))


def test_unparsable_rows_are_dropped_counted_and_shown_with_an_example():
    frame, _, log = cleaned(
        user_id=["a", None, "", "b", "c", "d"],
        item_id=["x", "x", "x", None, "y", "z"],
        rating=["5", "4", "4", "3", "abc", None],
        timestamp=["1500000000", "1500000001", "1500000002", "1500000003", "1500000004", "soon"],
    )
    assert frame["user_id"].to_list() == ["a"]
    assert decisions(log) == {
        "rows without a user id, dropped": 2,
        "rows without an item id, dropped": 1,
        "rows without a readable time, dropped": 1,
        "rows whose rating is not a number, dropped": 1,
    }
    assert "data row 2" in log.decisions[0]["example"]
    assert log.steps == [{"step": "check", "rows_in": 6, "rows_out": 1}]


def test_bad_rows_can_be_an_error_instead():
    with pytest.raises(
        DataError, match=r"1 of 3 rows cannot be used:\n  rows whose rating is not a number: 1 \(data row 2"
    ):
        cleaned(CleanConfig(bad_rows="error"), user_id=["a"] * 3, item_id=["x"] * 3, rating=["1", "?", "3"])


def test_too_many_bad_rows_are_always_an_error():
    with pytest.raises(DataError, match=r"max_bad_share = 0\.1"):
        cleaned(CleanConfig(), user_id=["a", "", ""], item_id=["x", "y", "z"])


def test_a_missing_rating_is_no_bad_row():
    frame, _, log = cleaned(user_id=["a", "b"], item_id=["x", "y"], rating=["4.5", ""])
    assert frame["rating"].to_list() == [4.5, None]
    assert not log.decisions


@pytest.mark.parametrize(
    "hard",
    [
        'say "hi"',
        "a,b",
        "two\nlines",
        "tab\there",
        "naïve café",
        "日本語",
        "🎬",
        " spaced ",
        "null",
        "NaN",
        "007",
        "'",
        "\\",
        "a" * 5000,
    ],
)
def test_ids_survive_unchanged(hard):
    frame, _, log = cleaned(user_id=[hard, "plain"], item_id=["x", hard])
    assert frame["user_id"][0] == hard
    assert frame["item_id"][1] == hard
    assert not log.decisions


def test_whole_floats_become_the_integers_they_were():
    frame, _, _ = cleaned(user_id=[1.0, 2.0, 10.0], item_id=[1.5, 2.0, 3.0])
    assert frame["user_id"].to_list() == ["1", "2", "10"]
    assert frame["item_id"].to_list() == ["1.5", "2.0", "3.0"]


def test_parts_under_their_many_names():
    frame, _, log = cleaned(user_id=["a"] * 4, item_id=list("wxyz"), part=["trn", "Validation", "TEST", "holdout"])
    assert frame["part"].to_list() == [0, 1, 2]
    assert decisions(log) == {"rows in an unknown part, dropped": 1}
    with pytest.raises(DataError, match="none of which is a known part"):
        cleaned(user_id=["a"], item_id=["x"], part=["fold3"])


def texts(frame, log=None):
    return clean_texts(frame, "item_id", "item", CleanConfig(), log or Log(quiet=True), "items.csv")


def test_texts_get_the_four_columns_and_empty_ones_become_null():
    frame = texts(pl.DataFrame({"item_id": [1, 2], "title": ["  A\n  title ", "  "], "colour": ["red", ""]}))
    assert frame.to_dicts() == [
        {"item_id": "1", "title": "A title", "description": None, "categories": None, "colour": "red"},
        {"item_id": "2", "title": None, "description": None, "categories": None, "colour": None},
    ]


def test_lists_in_texts_are_joined():
    frame = texts(
        pl.DataFrame({"item_id": ["a"], "categories": [["Books", None, "Crime"]], "features": [{"pages": 3}]})
    )
    assert frame["categories"][0] == "Books, Crime"
    assert frame["features"][0] == '{"pages":3}'


def test_repeated_and_missing_text_ids_are_counted():
    log = Log(quiet=True)
    frame = texts(pl.DataFrame({"item_id": ["a", "a", None], "title": ["first", "second", "third"]}), log)
    assert frame["title"].to_list() == ["first"]
    assert sorted(d["count"] for d in log.decisions) == [1, 1]


def test_texts_without_an_id_column_are_an_error():
    with pytest.raises(DataError, match="no column item_id"):
        texts(pl.DataFrame({"name": ["x"]}))


def test_texts_follow_the_order_of_the_ids():
    frame = align_texts(texts(pl.DataFrame({"item_id": ["b", "a"], "title": ["B", "A"]})), "item_id", ["a", "c", "b"])
    assert frame["item_id"].to_list() == ["a", "c", "b"]
    assert frame["title"].to_list() == ["A", None, "B"]
