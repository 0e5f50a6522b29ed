"""Dates as text: read exactly or refused in words, never with day and month exchanged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlingua.data.clean import CleanConfig
from interlingua.data.files.dates import days_since_1970, read_dates, read_format
from interlingua.data.prepare import prepare
from interlingua.errors import ConfigError, DataError

FORMATS = (
    "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y %H:%M", "%m-%d-%Y %I:%M:%S %p", "%d/%m/%y", "%m/%d/%y", "%y-%m-%d",
    "%Y-%m-%d", "%Y/%m/%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S+00:00",
    "%b %d, %Y", "%B %d, %Y %I:%M %p", "%d-%b-%Y", "%d %B %Y", "%m %d, %Y", "%a %b %d %H:%M:%S %Y", "%d-%b-%y",
    "%a, %d %b %Y %H:%M:%S GMT", "%a %b %d %H:%M:%S +0000 %Y", "%Y%m%dT%H%M%SZ", "%d/%b/%Y:%H:%M:%S +0000",
)  # fmt: skip
MOMENTS = st.datetimes(datetime(1980, 1, 1), datetime(2060, 1, 1))


def micros(moment):
    return (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(FORMATS), st.lists(MOMENTS, min_size=1, max_size=8), st.booleans())
def test_what_a_format_writes_is_read_back_or_refused(form, moments, early):
    if early:  # all days may be months
        moments = [m.replace(day=1 + m.day % 12) for m in moments]
    texts = [m.strftime(form) for m in moments]
    wanted = [micros(datetime.strptime(t, form)) for t in texts]
    assert read_format(pl.Series(texts), form, "when").to_list() == wanted
    try:
        values, said = read_dates(pl.Series(texts), "when")
    except DataError as refusal:
        values, said = None, [str(refusal)]
    assert said
    assert values is None or values.to_list() == wanted
    assert values is not None or "columns.time_format" in said[0]


@given(st.dates())
def test_days_are_those_of_the_calendar(day):
    import numpy as np

    found, there = days_since_1970(*(np.array([v]) for v in (day.year, day.month, day.day)))
    assert there[0]
    assert found[0] == (day - datetime(1970, 1, 1).date()).days


def times_of(values, **options):
    frame = pl.DataFrame({"user": list("abcdef")[: len(values)], "item": "x", "time": values})
    return prepare(frame, quiet=True, **options)


def shown(world):
    return [datetime.fromtimestamp(int(t), UTC).strftime("%Y-%m-%d %H:%M:%S") for t in world.interactions.times]


def test_an_ambiguous_column_asks_and_the_answer_is_taken():
    american = ["3/4/2024", "4/1/2024", "5/2/2024"]
    with pytest.raises(DataError, match=r"'3/4/2024' may be 2024-04-03 or 2024-03-04.*columns\.time_format"):
        times_of(american)
    world = times_of(american, columns={"time_format": "%m/%d/%Y"})
    assert [t[:10] for t in shown(world)] == ["2024-03-04", "2024-04-01", "2024-05-02"]
    assert world.card["reading"]["times"] == "dates in the format %m/%d/%Y"


def test_one_day_above_twelve_decides_for_the_whole_column_and_it_is_in_the_card():
    world = times_of(["3/4/2024", "4/13/2024", "5/2/2024"])
    assert [t[:10] for t in shown(world)] == ["2024-03-04", "2024-04-13", "2024-05-02"]
    assert "month, day, year (e.g. '4/13/2024' is 2024-04-13)" in world.card["reading"]["times"]


def test_rows_that_contradict_each_other_are_named():
    with pytest.raises(DataError, match=r"'13/4/2024' and '4/13/2024' contradict"):
        times_of(["13/4/2024", "4/13/2024"])


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Mar 4, 2024", "2024-03-04 00:00:00"),
        ("04-Mar-2024", "2024-03-04 00:00:00"),
        ("03 4, 2014", "2014-03-04 00:00:00"),
        ("2024-03-04 10:00:00 UTC", "2024-03-04 10:00:00"),
        ("2024-03-04T10:00:00+05:30", "2024-03-04 04:30:00"),
        ("2024-03-04 10:00:00.75-0200", "2024-03-04 12:00:00"),
        ("March 4th, 2024 at 12:05 a.m.", "2024-03-04 00:05:00"),
        ("Wed Mar 04 2024 10:00:00 GMT+0100 (Central European Standard Time)", "2024-03-04 09:00:00"),
        ("4 Sept. 2024", "2024-09-04 00:00:00"),
        (20240304, "2024-03-04 00:00:00"),
        ("20240304101500", "2024-03-04 10:15:00"),
    ],
)
def test_common_ways_of_writing(text, moment):
    assert shown(times_of([text])) == [moment]


@pytest.mark.parametrize(
    "text", ["2024-02-30", "marble 4, 2024", "31 Apr 2024", "Mar 4, 2024 13:00 PM", "2024-01-01 25:00"]
)
def test_what_is_no_date_is_none(text):
    assert read_dates(pl.Series([text]), "when")[0].to_list() == [None]


def test_a_typing_error_in_iso_dates_is_a_bad_row_but_another_order_is_asked_about():
    assert read_dates(pl.Series(["2024-13-01", "2024-12-20"]), "when")[0].null_count() == 1
    with pytest.raises(DataError, match="%Y-%d-%m"):
        read_dates(pl.Series(["2024-13-01", "2024-12-02"]), "when")


def test_units_by_name_and_contradictions():
    assert shown(times_of([1_500_000_000_000], columns={"time_format": "unix-ms"})) == ["2017-07-14 02:40:00"]
    with pytest.raises(ConfigError, match="contradict"):
        times_of([1], columns={"time_format": "unix"}, clean=CleanConfig(time_unit="ms"))
    with pytest.raises(DataError, match=r"fits none of the 1 values.*'soon'"):
        times_of(["soon"], columns={"time_format": "%Y"})
    with pytest.raises(DataError, match="dates already"):
        times_of([datetime(2024, 1, 1)], columns={"time_format": "%Y"})
