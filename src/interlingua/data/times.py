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

Result = tuple[pl.DataFrame, TimeKind, dict[str, pl.Series]]


def as_seconds(events: pl.DataFrame, unit: TimeUnit, said: str | None, log: Log) -> Result:
    """The events with an Int64 ``timestamp``, what it means, and masks of rows whose time cannot be used.

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
    values, is_date = _whole_numbers(given)
    missing = {"rows without a readable time": values.is_null()}
    chosen = said if unit == "auto" and said else unit
    if is_date:
        chosen = "s"
    if chosen == "auto":
        values, kind, impossible = _guessed(values, log)
    elif chosen == "order":
        kind, impossible = "order", values < 0
    else:
        values = values // PER_SECOND[chosen]
        kind, impossible = "seconds", (values < 0) | (values > LATEST_S)
    missing["rows with a negative or impossible time"] = impossible.fill_null(False)
    return events.with_columns(values.alias("timestamp")), kind, missing


def _whole_numbers(given: pl.Series) -> tuple[pl.Series, bool]:
    """Int64 values (null where unreadable), and whether they were dates (already in seconds)."""
    if given.dtype.is_temporal():
        return given.cast(pl.Datetime("us")).dt.epoch("s"), True
    if given.dtype.is_float():
        return given.fill_nan(None).cast(pl.Int64, strict=False), False
    if given.dtype != pl.String:
        return given.cast(pl.Int64, strict=False), False
    text = given.str.strip_chars()
    whole = text.cast(pl.Int64, strict=False)
    if whole.null_count() == given.null_count():
        return whole, False
    floats = text.cast(pl.Float64, strict=False).fill_nan(None).cast(pl.Int64, strict=False)
    best, dates = whole.zip_with(whole.is_not_null(), floats), None
    if best.null_count() > given.len() // 2:
        for form in (None, "%Y-%m-%d %H:%M:%S", "%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y"):
            try:
                read = text.str.to_datetime(form, time_unit="us", strict=False, time_zone="UTC").dt.epoch("s")
            except pl.exceptions.ComputeError:  # no format could be inferred from the values
                continue
            if dates is None or read.null_count() < dates.null_count():
                dates = read
    if dates is not None and dates.null_count() < best.null_count():
        return dates, True
    return best, False


def _guessed(values: pl.Series, log: Log) -> tuple[pl.Series, TimeKind, pl.Series]:
    median = values.median()
    if median is None or float(median) < EARLIEST_S:  # type: ignore[arg-type]
        return values, "order", (values < 0) | (values >= EARLIEST_S)
    lower = EARLIEST_S
    fractions = []
    rest = values
    for unit, upper in (*UPPER.items(), ("ns", None)):
        inside = (values >= lower) & (values < upper) if upper else values >= lower
        count = int(inside.sum())
        if count and unit != "s":
            rest = rest.zip_with(~inside.fill_null(False), values // PER_SECOND[unit])
            fractions.append(count / len(values))
            log.decide(f"times in {NAMES[unit]} turned into seconds", count, f'{UNDO} = "s"')
        lower = upper or lower
    if fractions and (len(fractions) > 1 or fractions[0] < 1 - values.null_count() / len(values)):
        log.warn("the times mix units (seconds, milliseconds, ...); each was converted by its own magnitude")
    return rest, "seconds", (rest < EARLIEST_S) | (rest > LATEST_S)
