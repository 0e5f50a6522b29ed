"""Errors for files that cannot be used: they name the file, the column and the remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import polars as pl

from interlingua.data.meeting import text_of_bytes, text_of_objects
from interlingua.data.raw import Log
from interlingua.errors import ConfigError, DataError, first_line


@contextmanager
def guarded(where: str, what: str, advice: str) -> Iterator[None]:
    """Turns a Polars error inside into a :class:`DataError`.

    Args:
        where: file or object.
        what: the failure, e.g. ``"the column t (timestamp) cannot be used"``.
        advice: the remedy.
    """
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{where}: {what}: {first_line(error)}; {advice}") from error


def refuse_unused(reader: str, what: str, given: Mapping[str, Any], takes: str) -> None:
    """Rejects settings that a reader would ignore, so that users do not believe in their effect.

    Args:
        reader: its name.
        what: ``columns`` or ``options``.
        given: the user's settings.
        takes: the settings that the reader takes instead.

    Raises:
        ConfigError: ``given`` is not empty.
    """
    if given:
        raise ConfigError(f"the reader {reader} takes no {what} (got {', '.join(map(str, given))}); it takes {takes}")


def require_columns(frame: pl.DataFrame, needed: tuple[str, ...], where: str, see: str) -> None:
    """Rejects a table that lacks a column which its layout always has.

    Raises:
        DataError: with the missing names, the table's columns, and ``see``: the remedy.
    """
    if missing := [c for c in needed if c not in frame.columns]:
        raise DataError(
            f"{where} has no column {' and no column '.join(missing)} (it has {', '.join(frame.columns)}); {see}"
        )


def plain_values(frame: pl.DataFrame, where: str, source: Mapping[str, str], log: Log) -> pl.DataFrame:
    """The frame with categories, bytes and UUIDs as text; one value per row in every column.

    Args:
        frame: columns named by role.
        where: file or object, for error messages.
        source: role -> column of the source, for error messages.
        log: records how bytes were read.

    Raises:
        DataError: a column of lists, structures or Python objects, or times without a day.
    """
    text: list[pl.Expr | pl.Series] = []
    for column, kind in frame.schema.items():
        named = f"the column {source.get(column, column)} ({column}) holds {kind}"
        if kind == pl.Object and (known := text_of_objects(frame[column])) is not None:
            text.append(known)
            continue
        if kind.is_nested() or kind == pl.Object:
            raise DataError(f"{where}: {named}, not one value per row; choose another with columns.{column}")
        if column == "timestamp" and kind in (pl.Time, pl.Duration):
            raise DataError(
                f"{where}: {named}, which is no moment; give dates or seconds since 1970, "
                "or choose another with columns.timestamp"
            )
        if kind == pl.Binary:
            values, how = text_of_bytes(frame[column])
            log.reads(f"bytes of {column}", how)
            text.append(values)
        if kind in (pl.Categorical, pl.Enum):
            text.append(pl.col(column).cast(pl.String, strict=False))
    return frame.with_columns(text) if text else frame
