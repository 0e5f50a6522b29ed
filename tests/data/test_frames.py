from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from interlingua.data.clean import CleanConfig
from interlingua.data.files.frames import is_frame, to_polars
from interlingua.data.memory import as_source
from interlingua.data.prepare import prepare
from interlingua.errors import ConfigError, DataError

COLUMNS = {"user": ["a", "a", "b"], "item": [1, 2, 1], "time": [5, 3, 9], "stars": [4.0, 5.0, 1.0]}


def forms():
    pandas, arrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    table = arrow.table(COLUMNS)
    return {
        "polars": pl.DataFrame(COLUMNS),
        "lazy": pl.LazyFrame(COLUMNS),
        "pandas": pandas.DataFrame(COLUMNS),
        "arrow table": table,
        "arrow reader": table.to_reader(),
        "arrow batch": table.to_batches()[0],
    }


def test_all_kinds_of_frames_give_the_same_dataset():
    prints = {}
    for name, frame in forms().items():
        assert is_frame(frame), name
        prints[name] = prepare(frame, quiet=True).fingerprint
    assert len(set(prints.values())) == 1, prints


def test_anything_with_the_arrow_interface_is_a_frame():
    class Foreign:
        def __arrow_c_stream__(self, requested_schema=None):
            return pl.DataFrame(COLUMNS).__arrow_c_stream__(requested_schema)

    assert prepare(Foreign(), quiet=True).fingerprint == prepare(pl.DataFrame(COLUMNS), quiet=True).fingerprint


def test_pandas_with_gaps_mixed_ids_categories_and_dates():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "user": pandas.Categorical(["a", "b", "a"]),
            "item": pandas.Series([10, "x", 10.5], dtype=object),
            "rating": pandas.array([5, None, 3], dtype="Int64"),
            "time": pandas.to_datetime(["2017-07-14 02:40:00"] * 3),
            "title": ["Ten", None, float("nan")],
        }
    )
    read = to_polars(frame)
    assert read["item"].to_list() == ["10", "x", "10.5"]
    assert read["rating"].to_list() == [5, None, 3]
    out = prepare(frame, quiet=True)
    assert out.interactions.times.tolist() == [1_500_000_000] * 3
    assert out.card["time"]["kind"] == "seconds"


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "+05:30"])
@pytest.mark.parametrize("stored", ["pandas", "arrow"])
def test_pandas_times_with_a_zone_are_seconds_of_utc(zone, stored):
    pandas, arrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    times = pandas.to_datetime(["2017-07-14 02:40:00", "2017-07-14 02:40:09", None]).tz_localize("UTC").tz_convert(zone)
    series = pandas.Series(times)
    if stored == "arrow":
        series = series.astype(pandas.ArrowDtype(arrow.timestamp("ns", zone)))
    frame = pandas.DataFrame({"user": ["a", "b", "c"], "item": ["x", "y", "z"], "time": series})
    assert to_polars(frame)["time"].dtype.time_zone is None
    out = prepare(frame, clean=CleanConfig(max_bad_share=0.5), quiet=True)
    assert out.interactions.times.tolist() == [1_500_000_000, 1_500_000_009]  # and the missing time is a bad row


def test_pandas_periods_are_read_as_dates():
    pandas = pytest.importorskip("pandas")
    when = pandas.period_range("2017-07-14", periods=2, freq="D")
    frame = pandas.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "time": when})
    assert prepare(frame, quiet=True).interactions.times.tolist() == [1_499_990_400, 1_500_076_800]


def test_ids_that_pandas_made_floats_are_integers_again():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"user": [1.0, 2.0], "item": [3.0, 4.0]})
    assert prepare(frame, quiet=True).interactions.user_ids.tolist() == ["1", "2"]


def test_nan_in_lists_and_columns_is_no_value_and_a_typed_one_is_a_text():
    pd = pytest.importorskip("pandas")
    titles = ["a", np.nan, "nan", None, pd.NA]
    tags = [["x", np.nan], ("y", None), np.nan, [1.0, np.nan], ["z"]]
    made = pd.DataFrame({"item_id": list("abcde"), "title": titles, "tags": tags, "size": [1.5, np.nan] * 2 + [2.0]})
    lists = pl.DataFrame({"item_id": list("abcde"), "sizes": [[1.0, float("nan")], [float("nan")], [2.0], None, []]})
    events = pl.DataFrame({"user_id": ["u"] * 5, "item_id": list("abcde"), "timestamp": range(5)})
    read = [
        prepare({"interactions": events, "items": items}, filter={"min_user": 0, "min_item": 0}, quiet=True)
        for items in (made, lists)
    ]
    items = read[0].catalogue.items
    assert items["title"].to_list() == ["a", None, "nan", None, None]
    assert items["categories"].to_list() == ["x", "y", None, "1.0", "z"]
    assert items["size"].to_list() == ["1.5", None, "1.5", None, "2.0"]
    assert read[1].catalogue.items["sizes"].to_list() == ["1.0", None, "2.0", None, None]


def test_lists_and_arrays_by_column():
    arrays = {name: np.array(values) for name, values in COLUMNS.items()}
    expected = prepare(pl.DataFrame(COLUMNS), quiet=True).fingerprint
    assert prepare(COLUMNS, quiet=True).fingerprint == expected
    assert prepare(arrays, quiet=True).fingerprint == expected


def test_a_mapping_of_frames_with_one_column_mapping_for_all():
    events = pl.DataFrame({"who": ["a", "b"], "what": ["x", "y"]})
    items = pl.DataFrame({"what": ["x"], "label": ["The X"]})
    columns = {"user_id": "who", "item_id": "what", "title": "label"}
    out = prepare({"interactions": events, "items": items}, columns=columns, quiet=True)
    assert out.catalogue.titles == ["The X", "untitled item y"]


def test_text_columns_that_no_frame_has():
    with pytest.raises(DataError, match=r"columns\.title = 'label': there is no table of items"):
        prepare(pl.DataFrame(COLUMNS), columns={"title": "label"}, quiet=True)


def test_errors_of_stored_frames_name_the_frame(tmp_path):
    twice = pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": ["soon", "later"]})
    texts = pl.DataFrame({"item_id": ["else"], "title": ["T"]})
    wrong = {
        "frame of events": ({"interactions": twice}, {}),
        "frame of items": ({"interactions": pl.DataFrame(COLUMNS), "items": texts}, {}),
        "frame of users": ({"interactions": pl.DataFrame(COLUMNS), "users": texts}, {}),
        "no column": ({"interactions": twice}, {"columns": {"rating": "stars"}}),
    }
    for words, (tables, options) in wrong.items():
        for source in (tables, as_source(tables, tmp_path)):
            with pytest.raises((ConfigError, DataError)) as caught:
                prepare(source, quiet=True, **options)
            assert words in str(caught.value) or "frame of events" in str(caught.value)
            assert str(tmp_path) not in str(caught.value)
            assert ".parquet" not in str(caught.value)


def test_wrong_mappings_and_things_that_are_no_tables():
    with pytest.raises(DataError, match="needs the key 'interactions'"):
        prepare({"items": pl.DataFrame()}, quiet=True)
    with pytest.raises(DataError, match=r"unknown tables \['events'\]"):
        prepare({"interactions": pl.DataFrame(), "events": pl.DataFrame()}, quiet=True)
    with pytest.raises(DataError, match="cannot read a mapping with user, item as columns"):
        prepare({"user": [1, 2], "item": [1]}, quiet=True)
    with pytest.raises(DataError, match="cannot read a"):
        prepare({"interactions": object()}, quiet=True)
    with pytest.raises(DataError, match="give a dataset's name"):
        prepare(np.zeros(3), quiet=True)


def test_ids_may_be_called_otherwise_in_the_frames_and_files_of_texts(tmp_path):
    tables = {
        "interactions": pl.DataFrame({"reader": ["a", "b"], "isbn": ["x", "y"], "user": [0, 0]}),
        "items": pl.DataFrame({"item_id": ["x"], "label": ["The X"]}),
        "users": pl.DataFrame({"user_id": ["b"], "about": ["likes y"]}),
    }
    columns = {"user_id": "reader", "item_id": "isbn", "title": "label"}
    for name, table in tables.items():
        table.write_parquet(tmp_path / f"{name}.parquet")
    for source in (tables, tmp_path):
        out = prepare(source, columns=columns, quiet=True)
        assert out.interactions.user_ids.tolist() == ["a", "b"]
        assert out.catalogue.titles == ["The X", "untitled item y"]
        assert out.catalogue.users["profile"].to_list() == [None, "likes y"]
        with pytest.raises(DataError, match=r"unknown column 'lable' in .*items.*did you mean 'label'"):
            prepare(source, columns=columns | {"title": "lable"}, quiet=True)
        with pytest.raises(DataError, match="unknown column 'raeder'"):
            prepare(source, columns=columns | {"user_id": "raeder"}, quiet=True)


def test_pandas_frames_with_repeated_column_names_are_refused():
    pandas = pytest.importorskip("pandas")
    twice = pandas.DataFrame([["a", "x", 1, 2]], columns=["user", "item", "time", "time"])
    with pytest.raises(DataError, match=r"interactions: repeated column names 'time' .*rename or drop"):
        prepare(twice, quiet=True)
    number_and_text = pandas.DataFrame([["a", "x", 1, 2]], columns=["user", "item", 1, "1"])
    with pytest.raises(DataError, match="repeated column names '1'"):
        prepare(number_and_text, quiet=True)
