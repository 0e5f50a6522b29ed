"""One table from a file of any form: parquet, JSON lines or an array, delimited text."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from interlingua.data.files.columns import EVENT_ROLES, guess
from interlingua.data.files.opening import (
    begins_array,
    check_file,
    content,
    is_gzip,
    json_array,
    lines,
    read_json_lines,
    read_table,
    text_of,
)
from interlingua.data.raw import Log
from interlingua.errors import DataError, first_line
from interlingua.storage.exact_files import read_json, read_ndjson, read_parquet

SEPARATORS = ("::", "\t", ";", "|", ",")
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
BY_POSITION = ("user_id", "item_id", "rating", "timestamp")
"""assumed roles of the first four columns of a file without a header line"""


@dataclass(frozen=True)
class Form:
    """Form of delimited text (see :class:`interlingua.data.sources.table.TableConfig`); None: detected."""

    separator: str | None = None
    header: bool | None = None
    encoding: str | None = None
    quote: str | None = None


def ending(path: Path) -> str:
    """``ratings.csv.gz`` -> ``.csv``."""
    suffixes = [s.lower() for s in path.suffixes if s.lower() not in (".gz", ".gzip")]
    return suffixes[-1] if suffixes else ""


def any_table(path: Path, log: Log, roles: Any, form: Form | None = None) -> pl.DataFrame:
    """The rows of a parquet, json lines or delimited file.

    Raises:
        DataError: missing, a folder, empty, damaged, or without columns.
    """
    check_file(path)
    kind = ending(path)
    if kind in (".parquet", ".pq"):
        try:
            return read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{path} is not a readable parquet file: {first_line(error)}") from None
    if kind in (".jsonl", ".ndjson", ".json"):
        return json_table(path, log)
    return _delimited(path, log, roles, form or Form())


def json_table(path: Path, log: Log) -> pl.DataFrame:
    """JSON lines with any keys, or one JSON array of objects; nested values stay nested."""
    try:
        data: Any = content(path) if is_gzip(path) else path
        if begins_array(path):
            return read_json(data, infer_schema_length=None)
        return read_ndjson(data, infer_schema_length=None)
    except pl.exceptions.PolarsError:
        return _json_by_line(path, log)


def _json_by_line(path: Path, log: Log) -> pl.DataFrame:
    """For files with lines that are not JSON, or whose values change their type: everything as text."""
    keys: dict[str, None] = {}
    for record in json_array(path) if begins_array(path) else _parsed(path):
        if isinstance(record, dict):
            keys.update(dict.fromkeys(record))
    if not keys:
        raise DataError(f"{path} holds no JSON objects, one per line or in one array")

    def as_text(value: Any) -> str | None:
        return value if isinstance(value, str) or value is None else json.dumps(value, ensure_ascii=False)

    return read_json_lines(path, lambda record: tuple(as_text(record.get(key)) for key in keys), list(keys), log)


def _parsed(path: Path) -> Iterator[Any]:
    """The value of each line that is JSON."""
    for line in lines(path):
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _delimited(path: Path, log: Log, roles: Any, form: Form) -> pl.DataFrame:
    source = text_of(path, form.encoding, log)
    head = _first_lines(source, path)
    separator = form.separator or _separator(head, ending(path))
    first = [value.strip().strip('"') for value in head[0].split(separator)]
    quote = form.quote or ("none" if separator == "::" else '"')
    enclosing = None if quote == "none" else quote
    log.reads("quotes", "none encloses values" if enclosing is None else f"{quote} encloses values")
    has_header = form.header
    if has_header is None:
        known = guess(first, roles, {}, str(path))
        has_header = bool(known) or not any(NUMBER.fullmatch(value) for value in first)
    if has_header:
        return read_table(path, log, separator=separator, quote=enclosing, source=source)
    names = [
        BY_POSITION[n] if n < len(BY_POSITION) and roles is EVENT_ROLES else f"column_{n + 1}"
        for n in range(len(first))
    ]
    if roles is EVENT_ROLES and len(first) == 3 and all(NUMBER.fullmatch(v) for v in first) and float(first[2]) > 1e5:
        names[2] = "timestamp"
    log.decide(
        f"{path.name} has no header line; its columns were taken for {', '.join(names)}",
        1,
        "options.header = true, or columns.user_id = ... with these names",
    )
    return read_table(path, log, separator=separator, header=names, quote=enclosing, source=source)


def _first_lines(source: Path | bytes, path: Path, count: int = 5) -> list[str]:
    found: list[str] = []
    for line in lines(source) if isinstance(source, Path) else io.BytesIO(source):
        if line.strip():
            found.append(line.decode("utf-8-sig", "replace").rstrip("\r\n"))
        if len(found) == count:
            break
    if not found:
        raise DataError(f"{path} holds only blank lines; export it again")
    return found


def _separator(head: list[str], kind: str) -> str:
    if kind == ".tsv" and "\t" in head[0]:
        return "\t"
    for separator in SEPARATORS:
        count = head[0].count(separator)
        if count and all(line.count(separator) >= count for line in head[1:]):
            return separator
    return "\t" if "\t" in head[0] else ","
