"""Folders with ``interactions.parquet`` and, if there are texts, ``items.parquet`` and ``users.parquet``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from interlingua.data.domain import Domain
from interlingua.data.files.columns import EVENT_ROLES, ITEM_ROLES, USER_ROLES, Roles, check_texts, of_texts, rename
from interlingua.data.files.frames import NAMES, STORED, frame_named
from interlingua.data.files.guard import refuse_unused
from interlingua.data.prepared import is_prepared
from interlingua.data.raw import Log, Source, SourceTables
from interlingua.errors import DataError, first_line
from interlingua.storage.exact_files import column_names, read_parquet

EVENTS = "interactions.parquet"
TIME_KINDS = {"order": "order", "none": "none", "seconds": "s", "s": "s", "ms": "ms", "unix": "s"}


class ParquetFolder(Source):
    """Reads a parquet folder; a prepared dataset is one too."""

    @staticmethod
    def matches(path: Path) -> bool:
        """A folder with ``interactions.parquet``, without a given split."""
        return (path / EVENTS).is_file() and "split" not in event_columns(path)

    def read(
        self, path: Path, *, columns: dict[str, str], options: dict[str, Any], seed: int, log: Log
    ) -> SourceTables:
        """See :func:`interlingua.data.source.read`."""
        refuse_unused("parquet-folder", "options", options, "columns.*")
        return read_folder(path, columns, log)


def event_columns(path: Path) -> list[str]:
    """Names of the columns of a folder's events; none if the file is damaged (reading it then raises the error)."""
    try:
        return column_names(path / EVENTS)
    except (OSError, pl.exceptions.PolarsError):
        return []


def read_folder(path: Path, columns: dict[str, str], log: Log) -> SourceTables:
    """The folder's tables, described by ``meta.json`` or ``card.json`` if there is one.

    Raises:
        DataError: a file is missing or damaged.
    """
    frames: dict[str, pl.DataFrame | None] = {}
    used: dict[str, str] = {}
    read: dict[str, tuple[Roles, list[str]]] = {}
    of_frames = STORED.fullmatch(path.name) is not None
    called = {name: frame_named(name) if of_frames else str(path / f"{name}.parquet") for name in NAMES}
    for name, roles in zip(NAMES, (EVENT_ROLES, ITEM_ROLES, USER_ROLES), strict=True):
        file, where = path / f"{name}.parquet", called[name]
        if not file.is_file():
            frames[name] = None
            continue
        try:
            frame = read_parquet(file)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{file} is not a readable parquet file: {first_line(error)}") from None
        own = columns if roles is EVENT_ROLES else of_texts(columns, frame)
        read[where] = roles, frame.columns
        frames[name], found = rename(frame, roles, own, where, log)
        used = used or found
    events = frames["interactions"]
    if events is None:
        raise DataError(f"{path} has no {EVENTS}")
    check_texts(columns, read)
    meta = _meta(path)
    log.item_names = {str(k): str(v) for k, v in _table(meta, "item_names").items()} | log.item_names
    source = meta.get("source", "")
    words = _table(meta, "domain")
    domain = Domain(**{word: str(words[word]) for word in vars(Domain()) if word in words})
    kind = meta.get("timestamp_kind") or _table(meta, "time").get("kind")
    return SourceTables(
        events,
        frames["items"],
        frames["users"],
        name=str(meta.get("name") or path.name),
        domain=domain,
        licence=str(
            meta.get("licence") or f"see the sources: {source}" if source else "unknown: the folder does not say"
        ),
        url=str(meta.get("url") or ""),
        time_unit=TIME_KINDS.get(str(kind)),
        times=_table(meta, "time").get("times") if is_prepared(path) else None,
        ties=str(_table(meta, "time").get("ties", "file")) if is_prepared(path) else None,
        keep_items=_table(meta, "filter").get("items_without_events") == "keep",
        where=called["interactions"],
        items_where=called["items"],
        users_where=called["users"],
        columns=used,
    )


def _meta(path: Path) -> dict[str, Any]:
    for name in ("card.json", "meta.json"):
        if (path / name).is_file():
            try:
                found = json.loads((path / name).read_text(encoding="utf-8"))
            except ValueError as error:
                raise DataError(f"{path / name} is not valid JSON: {error}") from None
            return found if isinstance(found, dict) else {}
    return {}


def _table(meta: dict[str, Any], name: str) -> dict[str, Any]:
    """A table inside the card; empty if the entry is something else (folders of other programs have cards too)."""
    found = meta.get(name)
    return found if isinstance(found, dict) else {}
