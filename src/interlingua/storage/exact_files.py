"""Parquet and delimited files by their exact path: ``[``, ``*``, ``?`` and ``{`` in a folder's name are no pattern.

Polars takes a path for a pattern of several files; every read of this package goes through an open file instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl


def read_parquet(path: Path | str, columns: list[str] | None = None) -> pl.DataFrame:
    """The rows of one file.

    Raises:
        OSError: there is no such file.
        polars.exceptions.PolarsError: it is no parquet file.
    """
    with Path(path).open("rb") as stream:
        return pl.read_parquet(stream, columns=columns)


def join_parquet(files: Sequence[Path], into: Path) -> None:
    """Writes the rows of several files, in their order, as one; no more than a part of them is in memory."""
    pl.scan_parquet(list(files), glob=False).sink_parquet(into, compression="lz4")


def holds(path: Path | str, column: str, value: str) -> bool:
    """Whether a column of one file has a value, as a string; no more than a part of the rows is in memory.

    Raises:
        OSError: there is no such file.
        polars.exceptions.PolarsError: it is no parquet file, or has no such column.
    """
    found = pl.scan_parquet(path, glob=False).filter(pl.col(column).cast(pl.String) == value)
    return found.head(1).collect().height > 0


def column_names(path: Path | str) -> list[str]:
    """Names of the columns, without reading rows; raises as :func:`read_parquet`."""
    with Path(path).open("rb") as stream:
        return list(pl.read_parquet_schema(stream))


def read_csv(source: Path | bytes, **options: Any) -> pl.DataFrame:
    """:func:`polars.read_csv` of one file, or of what was in it."""
    if isinstance(source, bytes):
        return pl.read_csv(source, **options)
    with source.open("rb") as stream:
        return pl.read_csv(stream, **options)


def read_ndjson(source: Path | bytes, **options: Any) -> pl.DataFrame:
    """:func:`polars.read_ndjson` of one file, or of what was in it."""
    if isinstance(source, bytes):
        return pl.read_ndjson(source, **options)
    with source.open("rb") as stream:
        return pl.read_ndjson(stream, **options)


def read_json(source: Path | bytes, **options: Any) -> pl.DataFrame:
    """:func:`polars.read_json` of one file, or of what was in it."""
    if isinstance(source, bytes):
        return pl.read_json(source, **options)
    with source.open("rb") as stream:
        return pl.read_json(stream, **options)
