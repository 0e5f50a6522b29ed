"""One file of events: csv, tsv, parquet or json lines (also .gz); columns are guessed, shown and settable."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import polars as pl

from interlingua.config import Config, build
from interlingua.data.files.columns import EVENT_ROLES, ITEM_ROLES, USER_ROLES, Roles, check_texts, guess, rename
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
from interlingua.data.raw import Log, Source, SourceTables
from interlingua.errors import DataError, first_line
from interlingua.storage.exact_files import read_json, read_ndjson, read_parquet

ENDINGS = (".csv", ".tsv", ".txt", ".dat", ".parquet", ".pq", ".jsonl", ".ndjson", ".json", ".inter")
SEPARATORS = ("::", "\t", ";", "|", ",")
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
BY_POSITION = ("user_id", "item_id", "rating", "timestamp")
"""What the first four columns of a file without a header line are taken for"""

IN_EVENTS: Roles = {role: ITEM_ROLES[role] for role in ("title", "categories")}
"""Texts of items that may stand in the events' own rows; a description there is rather a review"""


class TableConfig(Config):
    """Options of the reader ``table``."""

    separator: str | None = None
    """between the values; None: the one of ``:: tab ; | ,`` that fits the first lines"""
    header: bool | None = None
    """whether the first line names the columns; None: no, where it holds numbers and no known name"""
    encoding: str | None = None
    """e.g. ``latin-1``, ``cp1252``, ``utf-16-le``; None: UTF-8, or UTF-16 by its mark, else Latin-1"""
    quote: Literal['"', "'", "none"] | None = None
    """what encloses values; ``none``: nothing does, quotes are part of the texts; None: ``"`` (none with ``::``)"""
    items: str | None = None
    """path of a table of item texts"""
    users: str | None = None
    """path of a table of user texts"""


class Table(Source):
    """Reads one file of events; item and user texts from further files (options ``items`` and ``users``)."""

    @staticmethod
    def matches(path: Path) -> bool:
        """A file with a known ending."""
        return path.is_file() and ending(path) in ENDINGS

    def read(
        self, path: Path, *, columns: dict[str, str], options: dict[str, Any], seed: int, log: Log
    ) -> SourceTables:
        """See :func:`interlingua.data.source.read`."""
        config = build(TableConfig, options, "[data].options")
        events, used = rename(any_table(path, config, log, EVENT_ROLES), EVENT_ROLES, columns, str(path), log)
        read: dict[str, tuple[Roles, list[str]]] = {}
        items = self._texts(config.items, config, ITEM_ROLES, columns, log, read)
        users = self._texts(config.users, config, USER_ROLES, columns, log, read)
        if items is None and "item_id" in events.columns:
            items = self._texts_of_events(events, columns, log)
        if config.items is None:
            read[str(path)] = IN_EVENTS, events.columns
        check_texts(columns, read)
        return SourceTables(
            events,
            items,
            users,
            name=path.name.split(".")[0],
            where=str(path),
            items_where=config.items or "",
            users_where=config.users or "",
            columns=used,
        )

    @staticmethod
    def _texts(
        path: str | None,
        config: TableConfig,
        roles: Roles,
        columns: dict[str, str],
        log: Log,
        read: dict[str, tuple[Roles, list[str]]],
    ) -> pl.DataFrame | None:
        if path is None:
            return None
        frame = any_table(Path(path).expanduser(), config, log, roles)
        read[path] = roles, frame.columns
        # a mapping may name columns that only the other file has
        given = {role: column for role, column in columns.items() if column in frame.columns}
        return rename(frame, roles, given, path, log)[0]

    @staticmethod
    def _texts_of_events(events: pl.DataFrame, columns: dict[str, str], log: Log) -> pl.DataFrame | None:
        """Titles that stand in the events' own rows."""
        rest = [c for c in events.columns if c not in EVENT_ROLES]
        given = {role: column for role, column in columns.items() if role in IN_EVENTS}
        used = guess(rest, IN_EVENTS, given, "the events")
        if not used:
            return None
        log.note("item texts from the events: " + ", ".join(f"{role} = {column}" for role, column in used.items()))
        log.item_names |= {role: column for role, column in used.items() if role != column}
        picked = events.select("item_id", *(pl.col(column).alias(role) for role, column in used.items()))
        once = picked.unique().sort(picked.columns, nulls_last=True)  # never by the order of the rows
        first = once.unique("item_id", keep="first", maintain_order=True)
        log.decide(
            "other texts of an item in the events, the first by alphabet kept",
            once.height - first.height,
            "one table of items (options.items)",
        )
        return first


def ending(path: Path) -> str:
    """``ratings.csv.gz`` -> ``.csv``."""
    suffixes = [s.lower() for s in path.suffixes if s.lower() not in (".gz", ".gzip")]
    return suffixes[-1] if suffixes else ""


def any_table(path: Path, config: TableConfig, log: Log, roles: Any) -> pl.DataFrame:
    """The rows of a parquet, json lines or delimited file.

    Raises:
        DataError: not there, a folder, empty, damaged, or without columns.
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
    return _delimited(path, config, log, roles)


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
    """What stands on each line that is JSON."""
    for line in lines(path):
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _delimited(path: Path, config: TableConfig, log: Log, roles: Any) -> pl.DataFrame:
    source = text_of(path, config.encoding, log)
    head = _first_lines(source, path)
    separator = config.separator or _separator(head, ending(path))
    first = [value.strip().strip('"') for value in head[0].split(separator)]
    quote = config.quote or ("none" if separator == "::" else '"')
    enclosing = None if quote == "none" else quote
    log.reads("quotes", "none encloses values" if enclosing is None else f"{quote} encloses values")
    has_header = config.header
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
