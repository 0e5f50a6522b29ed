"""A reader's tables before cleaning, and the log that counts and shows every later decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import polars as pl

from interlingua.data.domain import Domain
from interlingua.progress import say

EVENT_COLUMNS = ("user_id", "item_id", "timestamp", "rating", "part", "label")
"""Roles of an event's columns; the first two are required"""
ITEM_COLUMNS = ("item_id", "title", "description", "categories")
"""String columns that every catalogue has; further ones are kept"""
TimeKind = Literal["seconds", "order"]


@dataclass
class Log:
    """Every change of the rows, for the card and for the terminal."""

    quiet: bool = False
    """do not print, only record"""
    steps: list[dict[str, Any]] = field(default_factory=list)
    """numbers of rows before and after each step"""
    decisions: list[dict[str, Any]] = field(default_factory=list)
    """each change: its count, an example, and the option that undoes it"""
    warnings: list[str] = field(default_factory=list)
    """notes for readers of results"""
    reading: dict[str, str] = field(default_factory=dict)
    """how columns and files were read: ids, times, ratings, encoding, quotes"""
    item_names: dict[str, str] = field(default_factory=dict)
    """column of the catalogue -> its name in the source, if that is another"""

    def reads(self, what: str, how: str) -> None:
        """Records how something was read; values of several files are listed."""
        known = self.reading.get(what)
        if known is None or how not in known.split("; "):
            self.reading[what] = how if known is None else f"{known}; {how}"
            self._show(f"data: {what}: {how}")

    def step(self, name: str, rows_in: int, rows_out: int, **more: Any) -> None:
        """Records the numbers of rows before and after one step."""
        self.steps.append({"step": name, "rows_in": int(rows_in), "rows_out": int(rows_out), **more})
        extra = "".join(
            f", {key} {value:,}" if isinstance(value, int) else f", {key} {value}" for key, value in more.items()
        )
        self._show(f"data: {name}: {rows_in:,} -> {rows_out:,} rows{extra}")

    def decide(self, what: str, count: int, undo: str, example: Any = None) -> None:
        """Records a counted decision (unless it touched no row)."""
        if not count:
            return
        entry = {"what": what, "count": int(count), "undo": undo}
        if example is not None:
            entry["example"] = str(example)[:200]
        self.decisions.append(entry)
        shown = f" (e.g. {entry['example']!r})" if example is not None else ""
        self._show(f"data: {what}: {count:,}{shown}; to change it: {undo}")

    def warn(self, text: str) -> None:
        """Records a note for readers of results."""
        self.warnings.append(text)
        self._show(f"data: warning: {text}")

    def note(self, text: str) -> None:
        """Shows a line without recording it."""
        self._show(f"data: {text}")

    def _show(self, text: str) -> None:
        if not self.quiet:
            say(text)


class Source:
    """Reads files of one form. A new one is one file in ``data/sources/`` with a subclass."""

    kind: ClassVar[str] = "data"
    version: ClassVar[int] = 1
    """raised when the same files give other rows: prepared data is then made again"""

    @staticmethod
    def matches(path: Path) -> bool:
        """Whether a file or folder has that form."""
        raise NotImplementedError

    def read(
        self, path: Path, *, columns: dict[str, str], options: dict[str, Any], seed: int, log: Log
    ) -> SourceTables:
        """The rows. See :func:`interlingua.data.source.read`."""
        raise NotImplementedError


@dataclass
class SourceTables:
    """Events and texts of a source, with columns named by role and values not yet checked."""

    events: pl.DataFrame
    """user_id, item_id and, if there are any, timestamp, rating, part; of any type that can be cast"""
    items: pl.DataFrame | None = None
    """item_id, title, description, categories, ...: one row per item (repeated ids are counted, the first is kept)"""
    users: pl.DataFrame | None = None
    """user_id and texts"""
    name: str = ""
    """name of the dataset"""
    domain: Domain = Domain()
    """words for prompts"""
    licence: str = "unknown: the source does not say"
    """terms of use"""
    url: str = ""
    """where to get the source"""
    time_unit: str | None = None
    """unit of the source's times, if it states one (``s``, ``ms``, ``order``, ``none``); None: guess from the values"""
    times: str | None = None
    """kind of the times (for a prepared dataset, whose filter may have made gaps)"""
    time_format: str | None = None
    """the user's format of the times (``columns.time_format``)"""
    ties: str | None = None
    """the rule that ordered rows of equal times (for a prepared dataset)"""
    keep_items: bool = False
    """items without an event belong to the catalogue (for a prepared dataset)"""
    where: str = ""
    """file or object, for error messages"""
    items_where: str = ""
    """the same for the texts of items, if it is another one"""
    users_where: str = ""
    """the same for the texts of users"""
    path: Path | None = None
    """file or folder that was read; None: rows from memory or a generated world"""
    columns: Mapping[str, str] = field(default_factory=dict)
    """role -> column of the source, as used"""
