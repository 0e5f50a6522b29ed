"""Events and texts from frames in memory: Polars, pandas, Arrow tables, or anything with the Arrow C interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from interlingua.data.columns import EVENT_ROLES, ITEM_ROLES, USER_ROLES, of_texts, rename
from interlingua.data.raw import Log, Raw
from interlingua.errors import DataError

NAMES = ("interactions", "items", "users")


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
        DataError: not a table, one with repeated column names, or one with columns that have no Arrow type (Python
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
        raise DataError(f"{where}: cannot read a {type(source).__name__} as a table: {error}") from error


def _column(column: Any) -> pl.Series:
    kind = str(column.dtype)
    if kind in ("object", "category", "str", "string") or kind.startswith("string"):
        missing = column.isna().tolist()
        values = column.tolist()
        if not all(isinstance(v, str) or gone for v, gone in zip(values, missing, strict=True)):
            lists = any(isinstance(v, list | tuple) for v in values)
            as_text = (lambda v: ", ".join(map(str, v)) if isinstance(v, list | tuple) else str(v)) if lists else str
            values = [as_text(v) for v in values]
        return pl.Series([None if gone else v for v, gone in zip(values, missing, strict=True)], dtype=pl.String)
    if kind.startswith(("Int", "UInt", "Float", "boolean")):  # pandas' own nullable types
        return pl.Series([None if gone else v for v, gone in zip(column.tolist(), column.isna().tolist(), strict=True)])
    return pl.Series(column.to_numpy())


def _of_arrays(source: Mapping[str, Any]) -> pl.DataFrame:
    """Columns as lists or NumPy arrays: ``{"user": [...], "item": [...]}``."""
    try:
        return pl.DataFrame({str(name): pl.Series(values, strict=False) for name, values in source.items()})
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"cannot read a mapping with {', '.join(map(str, source))} as columns of events: {error}; give arrays of "
            f"one length by column, or frames under {', '.join(NAMES)}"
        ) from None


def read_frames(source: Any, columns: Mapping[str, str], log: Log) -> Raw:
    """Raw rows from a frame of events, columns as arrays, or a mapping with up to three frames.

    Raises:
        DataError: an unknown key, or columns that cannot be found.
    """
    if isinstance(source, Mapping) and source and not set(source) & set(NAMES):
        source = _of_arrays(source)
    tables = dict(source) if isinstance(source, Mapping) else {"interactions": source}
    if extra := set(tables) - set(NAMES):
        raise DataError(f"unknown tables {sorted(extra)}; a mapping may hold {', '.join(NAMES)}")
    if tables.get("interactions") is None:
        raise DataError(f"no table of events: a mapping needs the key 'interactions' (it has {sorted(tables)})")
    events, used = rename(
        to_polars(tables["interactions"], "interactions"), EVENT_ROLES, columns, "frame of events", log
    )
    items = users = None
    if tables.get("items") is not None:
        given = to_polars(tables["items"], "items")
        items, _ = rename(given, ITEM_ROLES, of_texts(columns, given), "frame of items", log)
    if tables.get("users") is not None:
        given = to_polars(tables["users"], "users")
        users, _ = rename(given, USER_ROLES, of_texts(columns, given), "frame of users", log)
    return Raw(events, items, users, name="frames", where="frame of events", columns=used)
