"""Times as whole seconds or as an order, whatever unit the source has; impossible ones are marked, never guessed."""

from __future__ import annotations

from typing import Literal

import polars as pl

from interlingua.data.raw import Log, TimeKind

TimeUnit = Literal["auto", "s", "ms", "us", "ns", "order"]
EARLIEST_S = 100_000_000
"""March 1973: a guessed second before it is taken for an error (0 means "missing" in many sources)"""
LATEST_S = 4_102_444_800
"""1 January 2100"""
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
UPPER = {"s": 10**11, "ms": 10**14, "us": 10**17}
"""A value below this bound is taken to be in that unit (10^11 s is the year 5138)"""
NAMES = {"ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
UNDO = "clean.time_unit"

FRACTION = "fraction"
"""Column for what is lost of a time when it becomes a whole number: events of one second keep their order by it"""

Result = tuple[pl.DataFrame, TimeKind, dict[str, pl.Series]]


def as_seconds(events: pl.DataFrame, unit: TimeUnit, said: str | None, log: Log) -> Result:
    """The events with an Int64 ``timestamp``, what it means, and masks of rows whose time cannot be used.

    Where a time was no whole second (or no whole position), a column ``fraction`` says by how much it lay above.

    Args:
        events: may lack ``timestamp``.
        unit: what the user says, or ``auto``.
        said: what the source says (used where the user leaves it open).
        log: told of conversions.
    """
    if "timestamp" not in events.columns or events["timestamp"].null_count() == events.height:
        log.warn("the source has no times: the order of a user's events is the order of the rows")
        order = pl.int_range(pl.len(), dtype=pl.Int64).alias("timestamp")
        return events.with_columns(order), "order", {}
    given = events["timestamp"]
    values, fraction, is_date = _whole_numbers(given)
    missing = {"rows without a readable time": values.is_null()}
    chosen = said if unit == "auto" and said else unit
    if is_date:
        chosen = "s"
    if chosen == "auto":
        values, fraction, kind, impossible = _guessed(values, fraction, log)
    elif chosen == "order":
        kind, impossible = "order", values < 0
    else:
        if chosen != "s":
            values, fraction = _divided(values, PER_SECOND[chosen])
        kind, impossible = "seconds", (values < 0) | (values > LATEST_S)
    missing["rows with a negative or impossible time"] = impossible.fill_null(False)
    events = events.with_columns(values.alias("timestamp"))
    if fraction is not None and bool((fraction > 0).any()):
        # positions and seconds are stored whole; clean_events sorts by what was above them
        log.decide(
            "times with a fraction, stored as whole numbers (events keep their order)",
            int((fraction > 0).sum()),
            "whole numbers in the source",
            given.filter(fraction.fill_null(0.0) > 0)[0],
        )
        events = events.with_columns(fraction.fill_null(0.0).alias(FRACTION))
    return events, kind, missing


def _divided(values: pl.Series, by: int) -> tuple[pl.Series, pl.Series]:
    """Whole quotients, and what was above them as a share of one."""
    return values // by, (values % by).cast(pl.Float64) / by


def _floored(given: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Floats as Int64 (null where that cannot be), and what was above."""
    floor = given.fill_nan(None).floor()
    return floor.cast(pl.Int64, strict=False), (given - floor).fill_nan(None)


def _whole_numbers(given: pl.Series) -> tuple[pl.Series, pl.Series | None, bool]:
    """Int64 values (null where unreadable), what was above them, and whether they were dates (already in seconds)."""
    if given.dtype.is_temporal():
        return *_divided(given.cast(pl.Datetime("us")).dt.epoch("us"), PER_SECOND["us"]), True
    if given.dtype.is_float() or given.dtype.is_decimal():
        return *_floored(given.cast(pl.Float64)), False
    if given.dtype != pl.String:
        return given.cast(pl.Int64, strict=False), None, False
    text = given.str.strip_chars()
    whole = text.cast(pl.Int64, strict=False)
    if whole.null_count() == given.null_count():
        return whole, None, False
    floats, fraction = _floored(text.cast(pl.Float64, strict=False))
    best, dates = whole.zip_with(whole.is_not_null(), floats), None
    if best.null_count() > given.len() // 2:
        for form in (None, "%Y-%m-%d %H:%M:%S", "%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y"):
            try:
                read = text.str.to_datetime(form, time_unit="us", strict=False, time_zone="UTC").dt.epoch("us")
            except pl.exceptions.ComputeError:  # no format could be inferred from the values
                continue
            if dates is None or read.null_count() < dates.null_count():
                dates = read
    if dates is not None and dates.null_count() < best.null_count():
        return *_divided(dates, PER_SECOND["us"]), True
    return best, fraction, False


def _guessed(
    values: pl.Series, fraction: pl.Series | None, log: Log
) -> tuple[pl.Series, pl.Series | None, TimeKind, pl.Series]:
    """Seconds or positions, what was above them (None: nothing), what they are, the impossible ones."""
    median = values.median()
    if median is None or float(median) < EARLIEST_S:  # type: ignore[arg-type]
        return values, fraction, "order", (values < 0) | (values >= EARLIEST_S)
    lower = EARLIEST_S
    shares = []
    rest = values
    for unit, upper in (*UPPER.items(), ("ns", None)):
        inside = (values >= lower) & (values < upper) if upper else values >= lower
        count = int(inside.sum())
        if count and unit != "s":
            seconds, parts = _divided(values, PER_SECOND[unit])
            other = ~inside.fill_null(False)
            rest = rest.zip_with(other, seconds)
            above = (values * 0).cast(pl.Float64) if fraction is None else fraction
            fraction = above.zip_with(other, parts)
            shares.append(count / len(values))
            log.decide(f"times in {NAMES[unit]} turned into seconds", count, f'{UNDO} = "s"')
        lower = upper or lower
    if shares and (len(shares) > 1 or shares[0] < 1 - values.null_count() / len(values)):
        log.warn("the times mix units (seconds, milliseconds, ...); each was converted by its own magnitude")
    return rest, fraction, "seconds", (rest < EARLIEST_S) | (rest > LATEST_S)
