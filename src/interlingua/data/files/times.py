"""Times of any unit as whole seconds or as an order; impossible times are marked, never guessed."""

from __future__ import annotations

from typing import Literal

import polars as pl

from interlingua.data.files.dates import read_calendar_numbers, read_dates, read_format
from interlingua.data.raw import Log, TimeKind
from interlingua.errors import ConfigError, DataError

TimeUnit = Literal["auto", "s", "ms", "us", "ns", "order"]
EARLIEST_S = 100_000_000
"""March 1973: a guessed time before it counts as an error (0 means "missing" in many sources)"""
LATEST_S = 4_102_444_800
"""1 January 2100"""
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
UPPER = {"s": 10**11, "ms": 10**14, "us": 10**17}
"""a value below this bound is read in that unit (10^11 s is the year 5138)"""
NAMES = {"ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
FORMS = {"unix": "s", "unix-ms": "ms", "unix-us": "us", "unix-ns": "ns"}
"""Values of ``columns.time_format`` that are units"""
UNDO = "clean.time_unit"
FRACTION = "fraction"
"""Column with the fractional part of a time that becomes a whole number: it orders events of the same second"""

Result = tuple[pl.DataFrame, TimeKind, dict[str, pl.Series]]


def as_seconds(
    events: pl.DataFrame, unit: TimeUnit, said: str | None, log: Log, form: str | None = None, column: str = "timestamp"
) -> Result:
    """The events with an Int64 ``timestamp``, its meaning, and masks of rows whose time cannot be used.

    If a time was not a whole second (or position), a column ``fraction`` has its fractional part.

    Args:
        events: may lack ``timestamp``.
        unit: the user's choice, or ``auto``.
        said: the source's statement (used if the user makes no choice).
        log: records how the times were read and converted.
        form: ``unix``, ``unix-ms``, ... or a format of ``strptime``, from the user.
        column: name of the source's column, for errors.

    Raises:
        DataError: dates whose days and months cannot be told apart, or that ``form`` does not fit.
        ConfigError: ``form`` and ``unit`` contradict each other.
    """
    if "timestamp" not in events.columns or events["timestamp"].null_count() == events.height:
        log.warn("the source has no times: the order of a user's events is the order of the rows")
        log.reads("times", "none: the order of the rows")
        order = pl.int_range(pl.len(), dtype=pl.Int64).alias("timestamp")
        return events.with_columns(order), "order", {}
    if said == "none" and unit == "auto":
        log.warn("the source says that its times mean nothing: the order of a user's events is the order of the rows")
        said = "order"
    given = events["timestamp"]
    chosen, form = _unit_and_form(given, unit, said, form)
    values, fraction, date = _whole_numbers(given, form, chosen, column)
    missing = {"rows without a readable time": values.is_null()}
    if date:
        chosen = "s"
    if chosen == "auto":
        values, fraction, kind, impossible = _guessed(values, fraction, log)
    elif chosen == "order":
        kind, impossible = "order", values < 0
    else:
        if chosen != "s":
            values, fraction = _divided(values, PER_SECOND[chosen])
        kind, impossible = "seconds", (values < 0) | (values > LATEST_S)
    how = {"auto": "seconds since 1970, by their size", "order": "positions"}
    plain = "positions, by their size" if (chosen, kind) == ("auto", "order") else how.get(chosen)
    log.reads("times", date or plain or f"{NAMES.get(chosen, 'seconds')} since 1970")
    missing["rows with a negative or impossible time"] = impossible.fill_null(False)
    events = events.with_columns(values.alias("timestamp"))
    if fraction is not None and bool((fraction > 0).any()):
        # positions and seconds are stored whole; the order of events goes by what was above them
        log.decide(
            "times with a fraction, stored as whole numbers (events keep their order)",
            int((fraction > 0).sum()),
            "whole numbers in the source",
            given.filter(fraction.fill_null(0.0) > 0)[0],
        )
        events = events.with_columns(fraction.fill_null(0.0).alias(FRACTION))
    return events, kind, missing


def _unit_and_form(given: pl.Series, unit: TimeUnit, said: str | None, form: str | None) -> tuple[str, str | None]:
    """The unit to use, and the format of dates if one was given."""
    if form is None:
        return said if unit == "auto" and said else unit, None
    named = FORMS.get(form)
    if unit not in ("auto", named):
        raise ConfigError(
            f"columns.time_format = {form!r} and clean.time_unit = {unit!r} contradict each other; drop one"
        )
    if named:
        return named, None
    if given.dtype.is_temporal():
        raise DataError(f"columns.time_format = {form!r}: the times are dates already ({given.dtype}); leave it out")
    return "auto", form


def _divided(values: pl.Series, by: int) -> tuple[pl.Series, pl.Series]:
    """Whole quotients, and the remainders as fractions."""
    return values // by, (values % by).cast(pl.Float64) / by


def _floored(given: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Floats as Int64 (null if impossible), and their fractional parts."""
    floor = given.fill_nan(None).floor()
    return floor.cast(pl.Int64, strict=False), (given - floor).fill_nan(None)


def _whole_numbers(
    given: pl.Series, form: str | None, unit: str, column: str
) -> tuple[pl.Series, pl.Series | None, str]:
    """Int64 values (null if unreadable), their fractional parts, and how dates (now in seconds) were read, if any."""
    if form is not None:
        text = given.cast(pl.String).str.strip_chars()
        return *_divided(read_format(text, form, column), PER_SECOND["us"]), f"dates in the format {form}"
    if given.dtype.is_temporal():
        return *_divided(given.cast(pl.Datetime("us")).dt.epoch("us"), PER_SECOND["us"]), "dates"
    if given.dtype.is_float() or given.dtype.is_decimal():
        return *_floored(given.cast(pl.Float64)), ""
    text = given.str.strip_chars() if given.dtype == pl.String else given
    whole = text.cast(pl.Int64, strict=False)
    if unit == "auto" and are_calendar_numbers(whole):
        return *_divided(read_calendar_numbers(whole), PER_SECOND["us"]), "dates written as one number, year first"
    if given.dtype != pl.String or whole.null_count() == given.null_count():
        return whole, None, ""
    floats, fraction = _floored(text.cast(pl.Float64, strict=False))
    best = whole.zip_with(whole.is_not_null(), floats)
    if best.null_count() > given.len() // 2:
        dates, said = read_dates(text, column)
        if dates.null_count() < best.null_count():
            return *_divided(dates, PER_SECOND["us"]), "dates, " + "; ".join(said)
    return best, fraction, ""


def are_calendar_numbers(values: pl.Series) -> bool:
    """Whether every number is a day (20240131) or a second (20240131101500) of the calendar from 1970 to 2100."""
    known = values.drop_nulls().to_numpy()
    if not len(known):
        return False
    first, last = int(known.min()), int(known.max())
    spans = ((19_700_101, 21_001_231), (19_700_101_000_000, 21_001_231_235_959))
    if not any(low <= first and last <= high for low, high in spans):
        return False
    return read_calendar_numbers(values).null_count() == values.null_count()


def _guessed(
    values: pl.Series, fraction: pl.Series | None, log: Log
) -> tuple[pl.Series, pl.Series | None, TimeKind, pl.Series]:
    """Seconds or positions, their fractional parts (None: none), their kind, and a mask of impossible ones."""
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
