"""Events and texts from frames in memory: Polars, pandas, Arrow tables, or anything with the Arrow C interface."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import polars as pl

from interlingua.data.files.columns import EVENT_ROLES, ITEM_ROLES, USER_ROLES, Roles, check_texts, of_texts, rename
from interlingua.data.raw import Log, SourceTables
from interlingua.errors import DataError, first_line

NAMES = ("interactions", "items", "users")
STORED = re.compile(r"frame-[0-9a-f]{12}")
"""name of a folder that keeps frames for a run: errors name the frame, which a person knows, and not its file"""


def frame_named(name: str) -> str:
    """What errors call the frame ``interactions``, ``items`` or ``users``."""
    return f"frame of {'events' if name == 'interactions' else name}"


def is_frame(source: Any) -> bool:
    """Whether this is a table of columns that :func:`to_polars` takes."""
    return (
        isinstance(source, pl.DataFrame | pl.LazyFrame) or hasattr(source, "__arrow_c_stream__") or _is_pandas(source)
    )


def _is_pandas(source: Any) -> bool:
    return type(source).__module__.split(".")[0] == "pandas" and hasattr(source, "columns")


def to_polars(source: Any, where: str = "frame") -> pl.DataFrame:
    """A Polars frame of any table.

    Raises:
        DataError: not a table, repeated column names, or columns without an Arrow type (Python
            objects of several kinds).
    """
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    if isinstance(source, pl.DataFrame):
        return source
    try:
        if _is_pandas(source):
            names = [str(c) for c in source.columns]
            if repeated := sorted({n for n in names if names.count(n) > 1}):
                raise DataError(
                    f"{where}: repeated column names {', '.join(map(repr, repeated))} in a pandas frame with "
                    f"{', '.join(map(repr, names))}; rename or drop them"
                )
            # column by column: one column of mixed Python objects must not stop the others, and needs no pyarrow
            return pl.DataFrame({str(c): _column(source[c]) for c in source.columns})
        return pl.DataFrame(source)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{where}: cannot read a {type(source).__name__} as a table: {first_line(error)}") from error


def _column(column: Any) -> pl.Series:
    kind = str(column.dtype)
    if kind in ("object", "category", "str", "string") or kind.startswith("string"):
        return _texts(column)
    if kind.startswith(("Int", "UInt", "Float", "boolean")):  # pandas' own nullable types
        return pl.Series([None if gone else v for v, gone in zip(column.tolist(), column.isna().tolist(), strict=True)])
    if kind.startswith(("datetime64[", "timestamp[")) and getattr(column.dt, "tz", None) is not None:
        # NumPy has no zones and would give Python objects; UTC is what every other time is counted in
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    values = column.to_numpy()
    return _texts(column) if values.dtype == object else pl.Series(values)  # e.g. periods


def _texts(column: Any) -> pl.Series:
    missing = column.isna().tolist()
    values = column.tolist()
    if any(isinstance(v, bytes) for v in values) and all(
        isinstance(v, bytes) or gone for v, gone in zip(values, missing, strict=True)
    ):
        return pl.Series([None if gone else v for v, gone in zip(values, missing, strict=True)], dtype=pl.Binary)
    if not all(isinstance(v, str) or gone for v, gone in zip(values, missing, strict=True)):
        lists = any(isinstance(v, list | tuple) for v in values)
        as_text = (lambda v: ", ".join(_parts(v)) if isinstance(v, list | tuple) else str(v)) if lists else str
        values = [as_text(v) for v in values]
    return pl.Series([None if gone else v for v, gone in zip(values, missing, strict=True)], dtype=pl.String)


def _parts(values: list[Any] | tuple[Any, ...]) -> list[str]:
    """The values of one cell as texts, without None and NaN."""
    return [str(each) for each in values if each is not None and each == each]


def _of_arrays(source: Mapping[str, Any]) -> pl.DataFrame:
    """Columns as lists or NumPy arrays: ``{"user": [...], "item": [...]}``."""
    try:
        return pl.DataFrame({str(name): pl.Series(values, strict=False) for name, values in source.items()})
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"cannot read a mapping with {', '.join(map(str, source))} as columns of events: {first_line(error)}; give "
            f"arrays of one length by column, or frames under {', '.join(NAMES)}"
        ) from None


def tables_of(source: Any) -> dict[str, pl.DataFrame]:
    """The Polars frames ``interactions`` and, if they are given, ``items`` and ``users``.

    Args:
        source: a frame of events, columns as arrays, or a mapping with up to three frames.

    Raises:
        DataError: an unknown key, no events, or a value that is not a table.
    """
    if isinstance(source, Mapping) and source and not set(source) & set(NAMES):
        source = _of_arrays(source)
    tables = dict(source) if isinstance(source, Mapping) else {"interactions": source}
    if extra := set(tables) - set(NAMES):
        raise DataError(f"unknown tables {sorted(extra)}; a mapping may hold {', '.join(NAMES)}")
    if tables.get("interactions") is None:
        raise DataError(f"no table of events: a mapping needs the key 'interactions' (it has {sorted(tables)})")
    return {name: to_polars(table, name) for name, table in tables.items() if table is not None}


def read_frames(source: Any, columns: Mapping[str, str], log: Log) -> SourceTables:
    """Raw rows from a frame of events, columns as arrays, or a mapping with up to three frames.

    Raises:
        DataError: an unknown key, or columns that cannot be found.
    """
    tables = tables_of(source)
    read: dict[str, tuple[Roles, list[str]]] = {}

    def renamed(name: str, roles: Roles) -> tuple[pl.DataFrame | None, dict[str, str]]:
        if name not in tables:
            return None, {}
        frame, where = tables[name], frame_named(name)
        read[where] = roles, frame.columns
        own = columns if roles is EVENT_ROLES else of_texts(columns, frame)
        return rename(frame, roles, own, where, log)

    events, used = renamed("interactions", EVENT_ROLES)
    items, users = renamed("items", ITEM_ROLES)[0], renamed("users", USER_ROLES)[0]
    assert events is not None  # refused above
    check_texts(columns, read)
    return SourceTables(
        events,
        items,
        users,
        name="frames",
        where=frame_named("interactions"),
        items_where=frame_named("items"),
        users_where=frame_named("users"),
        columns=used,
    )
