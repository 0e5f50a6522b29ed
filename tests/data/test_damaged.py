"""Files that are damaged or lack what their layout has: an error that names file and column, never a traceback."""

from __future__ import annotations

import json
from datetime import date, time, timedelta

import polars as pl
import pytest

from interlingua.data.clean import CleanConfig
from interlingua.data.prepare import prepare
from interlingua.errors import DataError

T = 1_500_000_000
LENIENT = CleanConfig(max_bad_share=0.5)


def read(path, **more):
    return prepare(path, quiet=True, **more)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PAR1 cut"])
def test_a_folder_whose_events_are_damaged(tmp_path, content):
    (tmp_path / "interactions.parquet").write_bytes(content)
    for reader in (None, "parquet-folder", "rlmrec"):
        with pytest.raises(DataError, match=r"interactions\.parquet is not a readable parquet file"):
            read(tmp_path, reader=reader)


@pytest.mark.parametrize("meta", [{"time": "seconds"}, {"filter": 3}, {"domain": {"noun": "book", "colour": "red"}}])
def test_a_card_of_another_maker_does_not_stand_in_the_way(tmp_path, meta):
    pl.DataFrame({"user_id": ["a"], "item_id": ["x"]}).write_parquet(tmp_path / "interactions.parquet")
    (tmp_path / "card.json").write_text(json.dumps(meta))
    assert read(tmp_path).catalogue.domain.noun == ("book" if "domain" in meta else "item")


@pytest.mark.parametrize(
    ("name", "header", "lost"),
    [
        ("movies", "id,title,genres", "movieId"),
        ("movies", "movieId,title,kinds", "genres"),
        ("ratings", "movieId,rating,timestamp", "userId"),
        ("tags", "userId,movieId,timestamp", "tag"),
    ],
)
def test_movielens_files_without_a_column(tmp_path, name, header, lost):
    for file, columns in (("ratings", "userId,movieId,rating,timestamp"), ("movies", "movieId,title,genres")):
        (tmp_path / f"{file}.csv").write_text(f"{columns}\n" + ",".join("1" for _ in columns.split(",")) + "\n")
    (tmp_path / f"{name}.csv").write_text(f"{header}\n" + ",".join("1" for _ in header.split(",")) + "\n")
    with pytest.raises(DataError, match=rf"{name}\.csv has no column {lost} \(it has {header.replace(',', ', ')}\)"):
        read(tmp_path)


@pytest.mark.parametrize("role", ["user", "item", "time", "rating"])
@pytest.mark.parametrize("value", [["q"], {"q": 1}])
def test_json_lines_with_lists_or_objects_for_values(tmp_path, role, value):
    rows = [{"user": "a", "item": f"i{n}", "time": n, "rating": 3, role: value} for n in range(4)]
    (tmp_path / "e.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=rf"e\.jsonl: the column {role} .* holds (List|Struct).*not one value per row"):
        read(tmp_path / "e.jsonl")


def test_texts_of_items_whose_id_is_a_list(tmp_path):
    items = pl.DataFrame({"item": [["x"]], "title": ["X"]})
    with pytest.raises(DataError, match=r"item_id.* holds List.*not one value per row"):
        read({"interactions": pl.DataFrame({"user": ["a"], "item": ["x"]}), "items": items})


def test_texts_in_lists_of_fixed_length_are_joined(tmp_path):
    items = pl.DataFrame({"item": ["x"], "genres": pl.Series([["A", "B"]], dtype=pl.Array(pl.String, 2))})
    out = read({"interactions": pl.DataFrame({"user": ["a"], "item": ["x"]}), "items": items})
    assert out.catalogue.items["categories"].to_list() == ["A, B"]


def test_texts_that_cannot_become_text_name_their_column(tmp_path):
    items = pl.DataFrame({"item": ["x"], "genres": [[["A", "B"], ["C"]]]})
    with pytest.raises(DataError, match=r"the column categories .*cannot be used"):
        read({"interactions": pl.DataFrame({"user": ["a"], "item": ["x"]}), "items": items})


def review(n, **more):
    return {"reviewerID": f"A{n}", "asin": f"B{n}", "overall": 5.0, "unixReviewTime": T + n} | more


@pytest.mark.parametrize("field", ["reviewerID", "asin", "unixReviewTime"])
def test_amazon_lines_with_a_list_for_a_value_are_counted(tmp_path, field):
    lines = [review(n) for n in range(20)]
    lines[3][field] = ["q"]
    (tmp_path / "reviews.json").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "meta.json").write_text(json.dumps({"asin": ["B1"], "title": "?"}) + '\n{"asin": "B2", "title": "Two"}')
    out = read(tmp_path / "reviews.json")
    assert len(out.interactions) == 19
    assert sum(d["count"] for d in out.card["decisions"] if "dropped" in d["what"]) == 1
    assert "Two" in out.catalogue.titles


@pytest.mark.parametrize("pretty", [None, 1])
def test_elements_of_an_array_that_are_no_objects_are_counted(tmp_path, pretty):
    rows = [review(n) for n in range(20)]
    rows[4:4] = [7, None]
    (tmp_path / "reviews.json").write_text(json.dumps(rows, indent=pretty))
    for reader in ("amazon", "table"):
        out = read(tmp_path / "reviews.json", reader=reader)
        assert len(out.interactions) == 20, reader
        assert any("2 elements of" in w and "first: element 5" in w for w in out.card["warnings"]), reader
        assert [d["count"] for d in out.card["decisions"] if "without a user id, dropped" in d["what"]] == [2], reader
    (tmp_path / "reviews.json").write_text("[]")
    with pytest.raises(DataError, match="empty JSON array"):
        read(tmp_path / "reviews.json", reader="amazon")


def parquet(tmp_path, **columns):
    frame = pl.DataFrame({"user": ["a", "b", "c"], "item": ["x", "y", "z"]} | columns)
    frame.write_parquet(tmp_path / "e.parquet")
    return tmp_path / "e.parquet"


@pytest.mark.parametrize(("value", "kind"), [(time(12, 30), "Time"), (timedelta(days=3), "Duration")])
def test_times_without_a_day_are_refused(tmp_path, value, kind):
    with pytest.raises(DataError, match=rf"e\.parquet: the column time \(timestamp\) holds {kind}.*no moment"):
        read(parquet(tmp_path, time=[value] * 3))


@pytest.mark.parametrize("kind", [pl.Categorical(), pl.Binary()])
def test_categories_and_bytes_are_read_as_the_text_they_are(tmp_path, kind):
    columns = {
        "time": pl.Series([str(T + n) for n in range(3)]).cast(kind),
        "rating": pl.Series(["4.5", "1", "2"]).cast(kind),
        "user": pl.Series(["a", "b", "a"]).cast(kind),
    }
    out = read(parquet(tmp_path, **columns))
    assert sorted(out.interactions.times.tolist()) == [T, T + 1, T + 2]
    assert sorted(out.interactions.ratings.tolist()) == [1, 2, 4.5]
    assert out.interactions.user_ids.tolist() == ["a", "b"]


def test_days_are_moments(tmp_path):
    out = read(parquet(tmp_path, time=[date(2017, 7, 14)] * 3))
    assert out.interactions.times.tolist() == [T - 2 * 3600 - 40 * 60] * 3


@pytest.mark.parametrize(("values", "kept"), [([1.0, 2.0], ["1", "2"]), ([1.5, 2.0], ["1.5", "2.0"])])
@pytest.mark.parametrize("hole", [float("inf"), float("-inf"), float("nan")])
def test_ids_that_are_no_numbers_are_missing_ids(tmp_path, values, kept, hole):
    out = read(parquet(tmp_path, user=[*values, hole]), clean=LENIENT)
    assert out.interactions.user_ids.tolist() == kept
    assert out.card["decisions"][0]["what"] == "rows without a user id, dropped"


def test_ids_beyond_whole_numbers_stay_apart(tmp_path):
    assert len(read(parquet(tmp_path, user=[1e30, 2e30, 3.0])).interactions.user_ids) == 3
