from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest

from interlingua.data.clean import CleanConfig
from interlingua.data.files.times import as_seconds
from interlingua.data.prepare import prepare
from interlingua.data.raw import Log

S = 1_500_000_000


def read(values, unit="auto", said=None, dtype=None):
    log = Log(quiet=True)
    frame = pl.DataFrame({"timestamp": pl.Series(values, dtype=dtype, strict=False)})
    out, kind, bad = as_seconds(frame, unit, said, log)
    return out["timestamp"].to_list(), kind, {k: v.sum() for k, v in bad.items()}, log


@pytest.mark.parametrize(
    ("factor", "name"), [(1_000, "milliseconds"), (1_000_000, "microseconds"), (10**9, "nanoseconds")]
)
def test_other_units_become_seconds_and_it_is_said(factor, name):
    values, kind, bad, log = read([S * factor, (S + 1) * factor + factor // 2])
    assert values == [S, S + 1]
    assert kind == "seconds"
    assert not any(bad.values())
    assert (log.decisions[0]["what"], log.decisions[0]["count"]) == (f"times in {name} turned into seconds", 2)
    assert not log.warnings


def test_mixed_units_are_converted_each_by_itself_with_a_warning():
    values, _, bad, log = read([S, (S + 5) * 1000, S + 9])
    assert values == [S, S + 5, S + 9]
    assert log.decisions[0]["count"] == 1
    assert "mix units" in log.warnings[0]
    assert not any(bad.values())


def test_the_unit_can_be_set():
    values, kind, bad, _ = read([S * 1000], "ms")
    assert (values, kind) == ([S], "seconds")
    _, _, bad, _ = read([S * 1000, S], "s")
    assert bad["rows with a negative or impossible time"] == 1
    assert read([5, 3], "order")[:2] == ([5, 3], "order")
    assert read([100, 200], "s")[1] == "seconds"
    assert read([S], "auto", said="order")[1] == "order"


def test_negative_and_absurd_times_are_marked():
    _, kind, bad, _ = read([S, S, S, -5, 0, 99_999_999_999])
    assert kind == "seconds"
    assert bad["rows with a negative or impossible time"] == 3


def test_small_numbers_are_an_order():
    values, kind, bad, _ = read([0, 1, 2, -1, S])
    assert kind == "order"
    assert bad["rows with a negative or impossible time"] == 2
    assert values[:3] == [0, 1, 2]


def test_unreadable_times_are_marked():
    assert read([str(S), "soon", ""])[2]["rows without a readable time"] == 2


@pytest.mark.parametrize("text", ["{}", "{}.0", " {} "])
def test_numbers_as_text(text):
    assert read([text.format(S)])[:2] == ([S], "seconds")


@pytest.mark.parametrize("text", ["2017-07-14 02:40:00", "2017-07-14T02:40:00", "2017-07-14T02:40:00Z"])
def test_dates_as_text(text):
    assert read([text, text])[:2] == ([S, S], "seconds")


def test_days_as_text_and_dates_before_1973():
    assert read(["2017-07-14"])[0] == [S - 2 * 3600 - 40 * 60]
    values, kind, bad, _ = read(["1970-01-02", "1971-01-01"])
    assert (values[0], kind) == (86400, "seconds")
    assert not any(bad.values())


def test_dates_as_dates():
    assert read([datetime(2017, 7, 14, 2, 40, tzinfo=UTC)])[:2] == ([S], "seconds")
    assert read([date(1970, 1, 2)])[:2] == ([86400], "seconds")


def test_no_times_means_the_order_of_the_rows():
    values, kind, _, log = read([None, None], dtype=pl.Int64)
    assert (values, kind) == ([0, 1], "order")
    assert "no times" in log.warnings[0]


@pytest.mark.parametrize(
    ("times", "whole"),
    [
        ([0.9, 0.8, 0.4, 1.0], [0, 0, 0, 1]),
        (["2.9", "2.8", "2.4", "3"], [2, 2, 2, 3]),
        ([S + 0.9, S + 0.8, S + 0.4, S + 1], [S, S, S, S + 1]),
        ([S * 1000 + 900, S * 1000 + 800, S * 1000 + 400, (S + 1) * 1000], [S, S, S, S + 1]),
        ([S * 1e3 + 900, S + 0.8, S * 1e3 + 400, S + 1.0], [S, S, S, S + 1]),
        ([Decimal("0.9"), Decimal("0.8"), Decimal("0.4"), Decimal(1)], [0, 0, 0, 1]),
        ([datetime(2017, 7, 14, 2, 40, n // 9, n % 9, tzinfo=UTC) for n in (8, 7, 4, 9)], [S, S, S, S + 1]),
        ([f"2017-07-14T02:40:0{t}Z" for t in ("0.900", "0.800", "0.400", "1.000")], [S, S, S, S + 1]),
    ],
)  # fmt: skip
def test_events_of_one_second_keep_their_order_and_it_is_said(times, whole):
    frame = pl.DataFrame({"user": ["a"] * 4, "item": ["third", "second", "first", "last"], "time": times})
    out = prepare(frame, quiet=True)
    assert out.interactions.item_ids[out.interactions.items].tolist() == ["first", "second", "third", "last"]
    assert out.interactions.times.tolist() == whole
    said = [d for d in out.card["decisions"] if "times with a fraction" in d["what"]]
    assert [d["count"] for d in said] == [3]


@pytest.mark.parametrize("unit", ["ms", "order"])
def test_the_order_within_a_unit_that_was_set(unit):
    times = [2500.9, 2400.0, 2100.0] if unit == "ms" else [2.9, 2.4, 2.1]
    frame = pl.DataFrame({"user": ["a"] * 3, "item": ["third", "second", "first"], "time": times})
    out = prepare(frame, clean=CleanConfig(time_unit=unit), quiet=True)
    assert out.interactions.item_ids[out.interactions.items].tolist() == ["first", "second", "third"]
    assert out.interactions.times.tolist() == [2, 2, 2]


def test_rows_are_shown_as_they_stand_in_the_source_though_fractions_sort_them():
    frame = pl.DataFrame({"user": ["a", "a", None], "item": ["x", "y", "z"], "time": [0.9, 0.4, 0.1]})
    out = prepare(frame, clean=CleanConfig(max_bad_share=0.5), quiet=True)
    assert "data row 3" in next(d["example"] for d in out.card["decisions"] if "user id" in d["what"])


def test_a_negative_fraction_is_a_negative_time():
    values, _, bad, _ = read([-0.5, 1.0, 2.0])
    assert values == [-1, 1, 2]
    assert bad["rows with a negative or impossible time"] == 1


def test_whole_times_as_floats_say_nothing():
    assert not read([1.0, 2.0, None])[3].decisions
    assert not read([S * 1000.0] * 2, "ms")[3].decisions
