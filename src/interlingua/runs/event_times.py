"""Times of events that came after training: seconds since 1970, or dates, which are read as ``data prepare`` does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl

from interlingua.data.files.dates import UnclearDatesError, read_calendar_numbers
from interlingua.data.files.times import LATEST_S, PER_SECOND, are_calendar_numbers, as_seconds
from interlingua.data.raw import Log
from interlingua.errors import DataError, shown

DAY_S = 24 * 60 * 60
DAYS = (19_700_101, 21_001_231)
"""numbers that are written like days"""


def with_seconds(events: pl.DataFrame, source: str) -> pl.DataFrame:
    """The events with ``timestamp`` as Float64 seconds since 1970; null stays null.

    Args:
        events: may lack ``timestamp``.
        source: name of the column as it was given, for errors.

    Raises:
        DataError: no time, one before 1970 or after 2099, dates whose days and months cannot be told apart, or days
            such as 20240131 among seconds.
    """
    if "timestamp" not in events.columns:
        return events
    given = events["timestamp"]
    _no_years(given, source)
    given = given.fill_nan(None) if given.dtype.is_float() else given
    seconds = _days_too(_numbers(given), source)
    dates = given.is_not_null() & seconds.is_null()
    if dates.any() and (given.dtype == pl.String or given.dtype in (pl.Date, pl.Datetime)):
        try:
            read, _, _ = as_seconds(pl.DataFrame({"timestamp": given.filter(dates)}), "auto", None, Log(quiet=True))
        except UnclearDatesError as error:
            raise DataError(f"{source} of an event: {error.example}; write the year first, as 2024-01-31") from None
        fraction = read["fraction"] if "fraction" in read.columns else 0.0
        found = pl.Series(None, [None] * len(given), pl.Float64)
        seconds = seconds.zip_with(~dates, found.scatter(dates.arg_true(), read["timestamp"] + fraction))
    wrong = given.is_not_null() & ~seconds.is_between(0, LATEST_S).fill_null(False)
    if wrong.any():
        number, value = int(wrong.arg_max() or 0) + 1, given.filter(wrong)[0]
        raise DataError(
            f"event {number} of {len(given)}: {source} is {shown(value)}; give seconds since 1970 (up to the year "
            "2100), a date such as 2024-01-31, or leave it out"
        )
    return events.with_columns(seconds.alias("timestamp"))


def of_future(times: Sequence[float | None], now: float) -> str:
    """A note on times, in seconds since 1970, that lie more than a day ahead; empty: none does."""
    ahead = [when for when in times if when is not None and when > now + DAY_S]
    if not ahead:
        return ""
    first = datetime.fromtimestamp(ahead[0], UTC)
    return (
        f"the time of {len(ahead):,} of {len(times):,} events is more than a day ahead (e.g. {first:%Y-%m-%d}): it is "
        "kept, and trainings read these events as the newest"
    )


def _no_years(given: pl.Series, source: str) -> None:
    """Raises: DataError: a year alone, which as seconds would be an hour of 1970."""
    if given.dtype == pl.String:
        years = given.str.strip_chars().str.contains(r"^(19|20)\d\d$").fill_null(False)
    elif given.dtype.is_numeric():
        years = (given.is_between(1900, 2100) & (given % 1 == 0)).fill_null(False)
    else:
        return
    if years.any():
        number = int(years.arg_max() or 0)
        raise DataError(
            f"event {number + 1} of {len(given)}: {source} is {shown(given[number])}, a year alone; write the day too, "
            "as 2024-01-31"
        )


def _days_too(numbers: pl.Series, source: str) -> pl.Series:
    """The numbers in seconds: where all are days or seconds of the calendar (20240131, 20240131101500), these."""
    whole = numbers.set(numbers.floor() != numbers, None).cast(pl.Int64, strict=False)
    if not whole.null_count() > numbers.null_count() and are_calendar_numbers(whole):
        return read_calendar_numbers(whole) / PER_SECOND["us"]
    days = whole.is_between(*DAYS).fill_null(False) & read_calendar_numbers(whole).is_not_null()
    if days.any():
        number = int(days.arg_max() or 0)
        raise DataError(
            f"event {number + 1} of {len(numbers)}: {source} is {whole[number]}, a day among seconds since 1970; write "
            "all times in one way, days as 2024-01-31"
        )
    return numbers


def _numbers(given: pl.Series) -> pl.Series:
    if given.dtype == pl.String:
        return given.str.strip_chars().cast(pl.Float64, strict=False)
    if given.dtype.is_numeric():
        return given.cast(pl.Float64)
    return pl.Series(given.name, [None] * len(given), pl.Float64)
