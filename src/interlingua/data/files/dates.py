"""Dates as text, read by one rule for the whole column: ambiguous dates are refused, never guessed.

A row is matched by its shape (digits or a month's name, position of the year); which number is the day and which the
month is then decided on all rows of that shape together. One day above 12 decides for every row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from interlingua.errors import DataError

Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
LENGTHS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
ENDINGS = ("uary", "ruary", "ch", "il", "", "e", "y", "ust", "t(?:ember)?", "ober", "ember", "ember")
MONTH = rf"(?P<M>{'|'.join(MONTHS)})(?:{'|'.join(e for e in ENDINGS if e)})?\.?"
CLOCK = r"(?P<h>\d{1,2})(?::(?P<mi>\d{2})(?::(?P<s>\d{2})(?:[.,](?P<f>\d+))?)?)?\s*(?P<ap>[ap]\.?m\.?)?"
ZONE = r"(?P<z>z|(?:utc|gmt)?(?:[+-]\d{1,2}(?::?\d{2})?)?)"
TAIL = rf"(?:(?:[t_:]|,?\s+(?:at\s+)?){CLOCK})?\s*{ZONE}\s*(?:\(.*\))?$"
GAP = r"[-/. ]\s*"


class UnclearDatesError(DataError):
    """Days and months cannot be told apart."""

    def __init__(self, column: str, example: str, formats: str) -> None:
        super().__init__(
            f"the dates in the column {column} (timestamp) cannot be told: {example}; say how they are written with "
            f"columns.time_format, e.g. {formats}"
        )
        self.example = example
        """what is unclear, with the dates"""


@dataclass(frozen=True)
class Shape:
    """One way to write dates."""

    pattern: str
    orders: tuple[str, ...]
    """possible meanings of the numbers ``a``, ``b``, ``c`` (and a month's name), e.g. ``DMY``"""
    first_wins: bool = False
    """the first order is the convention, and another is tried only if the first is impossible"""


SHAPES = (
    Shape(rf"^{WEEKDAY}(?P<a>\d{{4}}){GAP}(?P<b>\d{{1,2}}){GAP}(?P<c>\d{{1,2}}){TAIL}", ("YMD", "YDM"), True),
    Shape(rf"^(?P<a>\d{{4}})(?P<b>\d{{2}})(?P<c>\d{{2}})(?:t(?P<h>\d\d)(?P<mi>\d\d)(?P<s>\d\d))?{ZONE}$", ("YMD",)),
    Shape(rf"^(?P<a>\d{{1,2}}) (?P<b>\d{{1,2}}), ?(?P<c>\d{{4}}){TAIL}", ("MDY", "DMY"), True),
    Shape(rf"^{WEEKDAY}(?P<a>\d{{1,2}}){GAP}(?P<b>\d{{1,2}}),?{GAP}(?P<c>\d{{4}}){TAIL}", ("DMY", "MDY")),
    Shape(
        rf"^{WEEKDAY}(?P<a>\d{{1,2}}){GAP}(?P<b>\d{{1,2}}){GAP}(?P<c>\d{{2}}){TAIL}",
        ("DMY", "MDY", "YMD", "YDM"),
    ),
    Shape(rf"^{WEEKDAY}{MONTH}[-/. ]*(?P<a>\d{{1,2}})(?:st|nd|rd|th)?,?[-/. ]\s*(?P<c>\d{{4}}){TAIL}", ("DY",)),
    Shape(rf"^{WEEKDAY}(?P<a>\d{{1,2}})(?:st|nd|rd|th)?[-/. ]*{MONTH},?[-/. ]*(?P<c>\d{{4}}){TAIL}", ("DY",)),
    Shape(rf"^{WEEKDAY}(?P<a>\d{{4}})[-/. ]*{MONTH}[-/. ]*(?P<c>\d{{1,2}}){TAIL}", ("YD",)),
    Shape(rf"^{WEEKDAY}(?P<a>\d{{1,2}})[-/. ]*{MONTH},?[-/. ]+(?P<c>\d{{2}}){TAIL}", ("DY", "YD")),
    Shape(rf"^{WEEKDAY}{MONTH}[-/. ]*(?P<a>\d{{1,2}}),?[-/. ]+(?P<c>\d{{2}}){TAIL}", ("DY", "YD")),
    Shape(rf"^{WEEKDAY}{MONTH}\s+(?P<a>\d{{1,2}})\s+{CLOCK}\s+{ZONE}\s*(?P<c>\d{{4}})$", ("DY",)),
)  # fmt: skip
"""The first that matches a row reads it"""
TWO_DIGITS = r"(?P<c>\d{2})"
WORDS = {"D": "day", "M": "month", "Y": "year"}
FORMATS = {
    "DMY": "%d/%m/%Y",
    "MDY": "%m/%d/%Y",
    "YMD": "%Y-%m-%d",
    "YDM": "%Y-%d-%m",
    "DY": "%d %b %Y",
    "YD": "%Y %b %d",
}


def days_since_1970(year: Numbers, month: Numbers, day: Numbers) -> tuple[Numbers, Mask]:
    """(n,) days of the Gregorian calendar, and which of them exist (the others are 0)."""
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    inside = (month >= 1) & (month <= 12)
    longest = LENGTHS[np.where(inside, month, 1) - 1] + (leap & (month == 2))
    valid = inside & (day >= 1) & (day <= longest) & (year >= 1)
    y = np.where(month <= 2, year - 1, year)
    era = np.floor_divide(y, 400)
    of_era = y - era * 400
    of_year = (153 * np.where(month > 2, month - 3, month + 9) + 2) // 5 + day - 1
    days = era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
    return np.where(valid, days, 0), valid


def read_dates(text: pl.Series, column: str) -> tuple[pl.Series, list[str]]:
    """Microseconds since 1970 (UTC; null if no date can be read), and a sentence on how the column was read.

    Args:
        text: strings without blanks around them.
        column: its name, for the error.

    Raises:
        UnclearDatesError: days and months cannot be told apart.
    """
    lower = text.str.to_lowercase().str.replace_all(r"\s+", " ")
    out = np.zeros(len(text), np.int64)
    found = np.zeros(len(text), bool)
    said = []
    for shape in SHAPES:
        groups = lower.str.extract_groups(shape.pattern).struct.unnest()
        positions = np.flatnonzero((groups["a"].is_not_null() & ~pl.Series(found)).to_numpy())
        if not len(positions):
            continue
        own = groups[positions]
        values, valid, how = _decided(shape, own, text.gather(positions), column)
        out[positions], found[positions] = values, valid
        if valid.any():
            said.append(how)
    return _nullable(out, found), said


def _decided(shape: Shape, groups: pl.DataFrame, text: pl.Series, column: str) -> tuple[Numbers, Mask, str]:
    """Microseconds of the rows of one shape, a mask of those that are dates, and how that was decided."""
    clock, clock_valid = _clock(groups)
    days, valid = zip(*(_days(order, groups) for order in shape.orders), strict=True)
    some = np.logical_or.reduce(valid)
    whole = [n for n, mask in enumerate(valid) if bool((mask | ~some).all())]
    differ = len(whole) > 1 and not all(np.array_equal(days[n][some], days[whole[0]][some]) for n in whole)
    iso = shape.first_wins and shape.orders[0] == "YMD"  # a typing error does not make year, day, month of it
    if (iso and 1 not in whole) or (shape.first_wins and 0 in whole):
        chosen = 0
    elif (len(whole) == 1 and not iso) or (len(whole) > 1 and not differ):
        chosen = whole[0]
    else:
        raise _unclear(shape, days, valid, text, column)
    order = shape.orders[chosen]
    telling = valid[chosen] & ~np.logical_and.reduce(valid)
    at = int(np.flatnonzero(telling if telling.any() else valid[chosen] if valid[chosen].any() else some | True)[0])
    words = "month by name" if "M" in groups.columns else ", ".join(WORDS[letter] for letter in order)
    how = f"{words} (e.g. {text[at]!r} is {_shown(int(days[chosen][at]))})"
    return days[chosen] * 86_400_000_000 + clock, valid[chosen] & clock_valid, how


def _letters(order: str, groups: pl.DataFrame) -> str:
    if "M" not in groups.columns:
        return order
    return {"DY": "DMY", "YD": "YMD"}[order]


def _shown(day: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def _unclear(shape: Shape, days: Any, valid: Any, text: pl.Series, column: str) -> UnclearDatesError:
    """The two readings of a row, or the rows that contradict each other, as an error with advice."""
    for n in range(len(days)):
        for m in range(n + 1, len(days)):
            both = np.flatnonzero(valid[n] & valid[m] & (days[n] != days[m]))
            against = [np.flatnonzero(valid[k] & ~valid[j]) for k, j in ((n, m), (m, n))]
            if not len(both) and not all(len(each) for each in against):
                continue
            if all(len(each) for each in against):
                example = f"{text[int(against[0][0])]!r} and {text[int(against[1][0])]!r} contradict each other"
            else:
                at = int(both[0])
                example = f"{text[at]!r} may be {_shown(int(days[n][at]))} or {_shown(int(days[m][at]))}"
            formats = f"{_format(shape, n)} or {_format(shape, m)} (as Python's strptime has it)"
            return UnclearDatesError(column, example, formats)
    at = int(np.flatnonzero(valid[-1])[0])
    return UnclearDatesError(column, f"{text[at]!r} is no date of year, month, day", _format(shape, -1))


def _format(shape: Shape, n: int) -> str:
    form = FORMATS[shape.orders[n]]
    return f'"{form.replace("%Y", "%y") if TWO_DIGITS in shape.pattern else form}"'


def _number(groups: pl.DataFrame, name: str) -> Numbers:
    if name not in groups.columns:
        return np.zeros(groups.height, np.int64)
    return groups[name].cast(pl.Int64).fill_null(0).to_numpy()


def _days(order: str, groups: pl.DataFrame) -> tuple[Numbers, Mask]:
    letters = _letters(order, groups)
    names = iter("ac" if "M" in groups.columns else "abc")
    values: dict[str, Numbers] = {}
    for letter in letters:
        if letter == "M" and "M" in groups.columns:
            position = groups["M"].replace_strict({m: n + 1 for n, m in enumerate(MONTHS)}, return_dtype=pl.Int64)
            values["M"] = position.to_numpy()
            continue
        name = next(names)
        values[letter] = _number(groups, name)
        if letter == "Y" and groups[name].str.len_chars().max() == 2:
            values["Y"] = values["Y"] + np.where(values["Y"] < 69, 2000, 1900)
        elif letter == "Y":  # a single digit is no year
            values["Y"] = np.where(groups[name].str.len_chars().to_numpy() >= 2, values["Y"], 0)
    return days_since_1970(values["Y"], values["M"], values["D"])


def _clock(groups: pl.DataFrame) -> tuple[Numbers, Mask]:
    """(n,) microseconds since midnight UTC, and whether they are a time of day."""
    hour, minute, second = (_number(groups, name) for name in ("h", "mi", "s"))
    valid = (minute < 60) & (second < 61)
    if "ap" in groups.columns:
        half = groups["ap"].str.head(1).fill_null("").to_numpy()
        stated = half != ""
        valid &= np.where(stated, (hour >= 1) & (hour <= 12), hour < 24)
        # an hour alone, without minutes and without am or pm, is no time of day
        valid &= stated | groups["h"].is_null().to_numpy() | groups["mi"].is_not_null().to_numpy()
        hour = np.where(stated, hour % 12 + 12 * (half == "p"), hour)
    fraction = np.zeros(groups.height, np.int64)
    if "f" in groups.columns:
        fraction = groups["f"].fill_null("").str.pad_end(6, "0").str.head(6).cast(pl.Int64).to_numpy()
    zone = (
        groups["z"]
        .fill_null("")
        .str.extract_groups(r"(?P<sign>[+-])(?P<zh>\d{1,2})(?::?(?P<zm>\d{2}))?")
        .struct.unnest()
    )
    sign = np.where(zone["sign"].fill_null("").to_numpy() == "-", -1, 1)
    offset = sign * (_number(zone, "zh") * 60 + _number(zone, "zm"))
    valid &= np.abs(offset) <= 14 * 60
    seconds = hour * 3600 + minute * 60 + second - offset * 60
    return seconds * 1_000_000 + fraction, valid


def read_format(text: pl.Series, form: str, column: str) -> pl.Series:
    """Microseconds since 1970 (UTC if no zone is written; null if the format does not fit).

    Args:
        text: strings without blanks around them.
        form: a format of ``datetime.strptime``.
        column: its name, for the error.

    Raises:
        DataError: the format is invalid, or fits no row.
    """
    once = text.drop_nulls().unique(maintain_order=True)
    values = _by_polars(once, form)
    if values is None:
        values = pl.Series([_by_python(value, form) for value in once.to_list()], dtype=pl.Int64)
    if not len(once) or values.null_count() == len(values):
        example = f", e.g. {once[0]!r}" if len(once) else ""
        raise DataError(
            f"columns.time_format = {form!r} fits none of the {len(once):,} values of the column {column}{example}; "
            "a format is what Python's strptime takes (%d/%m/%Y, %Y-%m-%d %H:%M:%S), unix, or unix-ms"
        )
    return text.replace_strict(once, values, default=None, return_dtype=pl.Int64)


def _by_python(value: str, form: str) -> int | None:
    try:
        read = datetime.strptime(value, form)
    except ValueError:
        return None
    moment = read if read.tzinfo else read.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _by_polars(once: pl.Series, form: str) -> pl.Series | None:
    """The fast way, if it agrees with Python's on a sample: the two accept slightly different formats."""
    if "%f" in form.replace(".%f", ""):
        return None
    try:
        zone = None if "%z" in form else "UTC"
        read = once.str.to_datetime(form.replace(".%f", "%.f"), time_unit="us", strict=False, time_zone=zone)
    except (pl.exceptions.PolarsError, ValueError):
        return None
    values = read.dt.epoch("us")
    sample = range(0, len(once), max(len(once) // 50, 1))
    agree = all(values[n] == _by_python(once[n], form) for n in sample)
    return values if agree else None


def read_calendar_numbers(values: pl.Series) -> pl.Series:
    """20240131 or 20240131101500 as microseconds since 1970; null if that is not a date."""
    valid = values.is_not_null().to_numpy()
    number = values.fill_null(0).to_numpy()
    long = number > 10**12
    day, clock = np.where(long, number // 10**6, number), np.where(long, number % 10**6, 0)
    days, real = days_since_1970(day // 10_000, day // 100 % 100, day % 100)
    hour, minute, second = clock // 10_000, clock // 100 % 100, clock % 100
    valid = valid & real & (hour < 24) & (minute < 60) & (second < 60)
    seconds = days * 86_400 + hour * 3_600 + minute * 60 + second
    return _nullable(seconds * 1_000_000, valid)


def _nullable(values: Numbers, valid: Mask) -> pl.Series:
    nothing = pl.Series([None], dtype=pl.Int64).new_from_index(0, len(values))
    return pl.Series(values, dtype=pl.Int64).zip_with(pl.Series(valid), nothing)
