from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from interlingua.data.raw import Log
from interlingua.data.times import as_seconds

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
