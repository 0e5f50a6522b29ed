"""One file of events: csv, tsv, parquet or json lines (also .gz); columns are guessed, shown and settable."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import polars as pl

from interlingua.config import Config, build
from interlingua.data.files.columns import EVENT_ROLES, ITEM_ROLES, USER_ROLES, Roles, check_texts, guess, rename
from interlingua.data.files.tables import Form, any_table, ending
from interlingua.data.raw import Log, Source, SourceTables

ENDINGS = (".csv", ".tsv", ".txt", ".dat", ".parquet", ".pq", ".jsonl", ".ndjson", ".json", ".inter")
IN_EVENTS: Roles = {role: ITEM_ROLES[role] for role in ("title", "categories")}
"""texts of items that may be columns of the events; a description there is more likely a review"""


class TableConfig(Config):
    """Options of the reader ``table``."""

    separator: str | None = None
    """between the values; None: the one of ``:: tab ; | ,`` that fits the first lines"""
    header: bool | None = None
    """whether the first line names the columns; None: yes, unless it holds numbers and no known name"""
    encoding: str | None = None
    """e.g. ``latin-1``, ``cp1252``, ``utf-16-le``; None: UTF-8, or UTF-16 by its mark, else Latin-1"""
    quote: Literal['"', "'", "none"] | None = None
    """character that encloses values; ``none``: none, quotes are part of the texts; None: ``"`` (none with ``::``)"""
    items: str | None = None
    """path of a table of item texts"""
    users: str | None = None
    """path of a table of user texts"""

    @property
    def form(self) -> Form:
        """The form of every file of this source."""
        return Form(self.separator, self.header, self.encoding, self.quote)


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
        events, used = rename(any_table(path, log, EVENT_ROLES, config.form), EVENT_ROLES, columns, str(path), log)
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
        frame = any_table(Path(path).expanduser(), log, roles, config.form)
        read[path] = roles, frame.columns
        # a mapping may name columns that only the other file has
        given = {role: column for role, column in columns.items() if column in frame.columns}
        return rename(frame, roles, given, path, log)[0]

    @staticmethod
    def _texts_of_events(events: pl.DataFrame, columns: dict[str, str], log: Log) -> pl.DataFrame | None:
        """Titles in the events' own rows."""
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
