"""Checks of the tables that a reader returned: ids, times, ratings, parts, texts. Every change is counted and shown."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Literal

import polars as pl
from pydantic import Field

from interlingua.config import Config
from interlingua.data.files.guard import guarded, plain_values
from interlingua.data.files.times import as_seconds
from interlingua.data.meeting import IdForm, formed, warn_of_twins
from interlingua.data.raw import EVENT_COLUMNS, ITEM_COLUMNS, Log, SourceTables
from interlingua.data.ties import TieRule
from interlingua.errors import DataError

PART_NAMES = {
    **dict.fromkeys(("train", "trn", "training", "tr", "0"), 0),
    **dict.fromkeys(("valid", "val", "validation", "dev", "1"), 1),
    **dict.fromkeys(("test", "tst", "testing", "te", "2"), 2),
    "unused": 3,
}
"""names of the parts in sources"""


LARGEST_WHOLE = 2.0**63
"""Floats below it fit into an Int64"""


class CleanConfig(Config):
    """Treatment of rows that cannot be used unchanged."""

    bad_rows: Literal["drop", "error"] = "drop"
    """rows without an id, with an unparsable time or rating, or an impossible time: dropped and counted, or an error"""
    max_bad_share: float = Field(default=0.1, ge=0, le=1)
    """a larger fraction of bad rows is always an error: probably the mapping of columns is wrong"""
    time_unit: Literal["auto", "s", "ms", "us", "ns", "order"] = "auto"
    """unit of the times. ``auto``: by magnitude, row by row; ``order``: positions in the user's own history"""
    ids: IdForm = "as-is"
    """ids of users and items. ``strip``: without blanks around them; ``number``: reads ``007``, ``7.0`` as ``7``"""
    ties: TieRule = "hash"
    """order of a user's events at the same time. ``hash``: of user and item, so that the order of the rows in the file
    decides nothing; ``file``: the order of the rows, if that order means something"""
    strip_texts: bool = True
    """collapse white space in titles and trim texts"""


def clean_events(raw: SourceTables, config: CleanConfig, log: Log) -> tuple[pl.DataFrame, Literal["seconds", "order"]]:
    """Events with user_id, item_id (String), timestamp (Int64); rating (Float32), part (Int8), label, if any.

    If times were not whole numbers, a column ``fraction`` holds their fractional parts.

    Raises:
        DataError: a required column is missing or of an unusable type, no row is left, or too many rows
            are bad.
    """
    _require(raw)
    events = raw.events.select(pl.col(c) for c in EVENT_COLUMNS if c in raw.events.columns)
    rows = events.height
    if not rows:
        raise DataError(
            f"{raw.where or raw.name} holds no events: it has columns ({', '.join(events.columns)}) but no rows"
        )
    where = raw.where or raw.name
    events = plain_values(events, where, raw.columns, log)
    for column in EVENT_COLUMNS[:2]:
        with _usable(where, column, raw.columns):
            events = events.with_columns(_as_id(events, column))
            events = events.with_columns(formed(events[column], config.ids))
            warn_of_twins(events[column], column.removesuffix("_id"), log)
    log.reads("ids", {"as-is": "as they stand", "strip": "without blanks around them"}.get(config.ids, "whole numbers"))
    bad: dict[str, pl.Series] = {
        "rows without a user id": _empty(events["user_id"]),
        "rows without an item id": _empty(events["item_id"]),
    }
    with _usable(where, "timestamp", raw.columns):
        events, kind, bad_times = as_seconds(
            events, config.time_unit, raw.time_unit, log, raw.time_format, raw.columns.get("timestamp", "timestamp")
        )
    bad |= bad_times
    if "rating" in events.columns:
        with _usable(where, "rating", raw.columns):
            events, bad_ratings = _ratings(events)
        bad |= bad_ratings
        if "rating" in events.columns and events["rating"].count():
            known = events["rating"].drop_nulls().to_numpy()
            log.reads("ratings", f"numbers from {known.min():g} to {known.max():g}")
    if "part" in events.columns:
        with _usable(where, "part", raw.columns):
            events, bad["rows in an unknown part"] = _parts(events, raw)
    events = _without(events, raw.events, bad, config, raw, log)
    log.step("check", rows, events.height)
    return events, kind


def _usable(where: str, role: str, source: Mapping[str, str] | None = None) -> AbstractContextManager[None]:
    column = (source or {}).get(role, role)
    return guarded(
        where, f"the column {column} ({role}) cannot be used", f"correct it, or choose another with columns.{role}"
    )


def _require(raw: SourceTables) -> None:
    missing = [c for c in EVENT_COLUMNS[:2] if c not in raw.events.columns]
    own = [raw.columns.get(name, name) for name in raw.events.columns]  # as the file has them
    if missing:  # with "data." before it, every command takes the option: interlingua data could do without
        raise DataError(
            f"{raw.where or raw.name}: no column for {' and '.join(missing)}; "
            f"it has {', '.join(own) or 'none'}; "
            f"name it: --set data.columns.{missing[0]}=NAME (Python: columns={{{missing[0]!r}: 'NAME'}})"
        )


def _as_id(events: pl.DataFrame, column: str) -> pl.Expr:
    """Ids as strings; whole floats (integers with gaps in pandas) as integers; NaN and infinity as null."""
    if events.schema[column].is_float():
        finite = pl.when(pl.col(column).is_finite()).then(pl.col(column))
        values = events.select(finite).to_series().drop_nulls()
        if bool(((values == values.round()) & (values.abs() < LARGEST_WHOLE)).all()):
            return finite.cast(pl.Int64).cast(pl.String).alias(column)
        return finite.cast(pl.String).alias(column)
    return pl.col(column).cast(pl.String)


def _empty(ids: pl.Series) -> pl.Series:
    return ids.is_null() | (ids.str.len_bytes() == 0)


def _ratings(events: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, pl.Series]]:
    given = events["rating"]
    if given.null_count() == events.height:
        return events.drop("rating"), {}
    parsed = (given.str.strip_chars() if given.dtype == pl.String else given).cast(pl.Float32, strict=False)
    blank = given.is_null() | (given.str.strip_chars() == "") if given.dtype == pl.String else given.is_null()
    return events.with_columns(parsed.alias("rating")), {"rows whose rating is not a number": parsed.is_null() & ~blank}


def _parts(events: pl.DataFrame, raw: SourceTables) -> tuple[pl.DataFrame, pl.Series]:
    given = events["part"].cast(pl.String).str.to_lowercase()
    codes = given.replace_strict(PART_NAMES, default=None, return_dtype=pl.Int8)
    if codes.null_count() == events.height:
        raise DataError(
            f"{raw.where}: the column used as part holds {given.unique().head(5).to_list()}, none of which is a known "
            f"part ({', '.join(PART_NAMES)})"
        )
    return events.with_columns(codes.alias("part")), codes.is_null()


def _without(
    events: pl.DataFrame,
    source: pl.DataFrame,
    bad: dict[str, pl.Series],
    config: CleanConfig,
    raw: SourceTables,
    log: Log,
) -> pl.DataFrame:
    wrong = pl.Series([False]).new_from_index(0, events.height)
    messages = []
    for what, mask in bad.items():
        fresh = mask & ~wrong
        count = int(fresh.sum())
        if count:
            position = int(fresh.arg_max() or 0)
            example = f"data row {position + 1}: {source.row(position, named=True)}"
            messages.append(f"{what}: {count:,} ({example})")
            if config.bad_rows == "drop":
                log.decide(f"{what}, dropped", count, 'clean.bad_rows = "error"', example)
        wrong = wrong | mask
    total = int(wrong.sum())
    if total and (config.bad_rows == "error" or total > config.max_bad_share * events.height):
        limit = (
            "" if config.bad_rows == "error" else f", more than clean.max_bad_share = {config.max_bad_share:g} allows"
        )
        raise DataError(
            f"{raw.where or raw.name}: {total:,} of {events.height:,} rows cannot be used{limit}:\n  "
            + "\n  ".join(messages)
            + "\ncheck the mapping of columns (columns.*) and clean.time_unit, correct the rows, "
            "or raise clean.max_bad_share"
        )
    return events.filter(~wrong) if total else events


def clean_texts(
    frame: pl.DataFrame | None, key: str, what: str, config: CleanConfig, log: Log, where: str
) -> pl.DataFrame:
    """Texts with one row per id, string columns only, empty strings as null.

    Args:
        frame: the reader's table, or None.
        key: ``item_id`` or ``user_id``.
        what: ``item`` or ``user``, for the log.
        config: whether texts are trimmed.
        log: counts repeated and missing ids.
        where: file or object, for error messages.

    Raises:
        DataError: no column ``key``, or a column whose values are not texts.
    """
    if frame is None:
        frame = pl.DataFrame(schema={key: pl.String})
    if key not in frame.columns:
        raise DataError(
            f"{where}: the table of {what}s has no column {key} (it has {', '.join(frame.columns)}); "
            f"name it with columns.{key}"
        )
    frame = frame.with_columns(plain_values(frame.select(key), where, {}, log))
    with _usable(where, key):
        frame = frame.with_columns(_as_id(frame, key))
        frame = frame.with_columns(formed(frame[key], config.ids))
    unnamed = _empty(frame[key])
    log.decide(
        f"{what} texts without an id, dropped", int(unnamed.sum()), f"give them an id in {where or 'the source'}"
    )
    frame = frame.filter(~unnamed)
    for column in (c for c in frame.columns if c != key):
        with _usable(where, column):
            frame = frame.with_columns(_as_text(frame, column, config))
    repeated = frame[key].is_first_distinct()
    log.decide(
        f"{what} texts with an id that came before, the first kept",
        int((~repeated).sum()),
        f"make the ids unique in {where or 'the source'}",
        None if bool(repeated.all()) else frame.filter(~repeated)[key][0],
    )
    frame = frame.filter(repeated)
    if what == "item":
        missing = [c for c in ITEM_COLUMNS if c not in frame.columns]
        frame = frame.with_columns(pl.lit(None, pl.String).alias(c) for c in missing)
        frame = frame.select(*ITEM_COLUMNS, *(c for c in frame.columns if c not in ITEM_COLUMNS))
    return frame


def _as_text(frame: pl.DataFrame, column: str, config: CleanConfig) -> pl.Expr:
    text = pl.col(column)
    kind = frame.schema[column]
    if isinstance(kind, pl.Array):
        text, kind = text.arr.to_list(), pl.List(kind.inner)
    if isinstance(kind, pl.List):
        one = pl.element().fill_nan(None) if kind.inner.is_float() else pl.element()
        text = text.list.eval(one.cast(pl.String)).list.join(", ", ignore_nulls=True)
    elif isinstance(kind, pl.Struct):
        text = text.struct.json_encode()
    else:
        text = (text.fill_nan(None) if kind.is_float() else text).cast(pl.String, strict=False)
    if config.strip_texts:
        text = text.str.replace_all(r"\s+", " ") if column == "title" else text
        text = text.str.strip_chars()
    return pl.when(text.str.len_bytes() > 0).then(text).otherwise(None).alias(column)


def align_texts(texts: pl.DataFrame, key: str, ids: list[str]) -> pl.DataFrame:
    """The texts in the order of ``ids``, with nulls where an id has none."""
    return pl.DataFrame({key: pl.Series(ids, dtype=pl.String)}).join(texts, on=key, how="left", maintain_order="left")
