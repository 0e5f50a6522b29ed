from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from interlingua.data.clean import CleanConfig
from interlingua.data.files.frames import is_frame, to_polars
from interlingua.data.prepare import prepare
from interlingua.errors import DataError

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
