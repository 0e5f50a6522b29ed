"""What a reader hands over before cleaning, and the log in which every later decision is counted and shown."""

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
    """Everything that happened to the rows, for the card and for the person who waits."""

    quiet: bool = False
    """do not print, only record"""
    steps: list[dict[str, Any]] = field(default_factory=list)
    """rows in and out of each step"""
    decisions: list[dict[str, Any]] = field(default_factory=list)
    """what was changed or dropped, how often, an example, and the option that undoes it"""
    warnings: list[str] = field(default_factory=list)
    """what a reader of results should know"""
    reading: dict[str, str] = field(default_factory=dict)
    """how columns and files were read: ids, times, ratings, encoding, quotes"""
    item_names: dict[str, str] = field(default_factory=dict)
    """column of the catalogue -> what the source calls it, where that is another word"""

    def reads(self, what: str, how: str) -> None:
        """How something was read; the same thing of several files is listed."""
        known = self.reading.get(what)
        if known is None or how not in known.split("; "):
            self.reading[what] = how if known is None else f"{known}; {how}"
            self._show(f"data: {what}: {how}")

    def step(self, name: str, rows_in: int, rows_out: int, **more: Any) -> None:
        """Rows in and out of one step."""
        self.steps.append({"step": name, "rows_in": int(rows_in), "rows_out": int(rows_out), **more})
        extra = "".join(
            f", {key} {value:,}" if isinstance(value, int) else f", {key} {value}" for key, value in more.items()
        )
        self._show(f"data: {name}: {rows_in:,} -> {rows_out:,} rows{extra}")

    def decide(self, what: str, count: int, undo: str, example: Any = None) -> None:
        """A counted decision (nothing is recorded where it touched no row)."""
        if not count:
            return
        entry = {"what": what, "count": int(count), "undo": undo}
        if example is not None:
            entry["example"] = str(example)[:200]
        self.decisions.append(entry)
        shown = f" (e.g. {entry['example']!r})" if example is not None else ""
        self._show(f"data: {what}: {count:,}{shown}; to change it: {undo}")

    def warn(self, text: str) -> None:
        """Something that a reader of results should know."""
        self.warnings.append(text)
        self._show(f"data: warning: {text}")

    def note(self, text: str) -> None:
        """A line that is shown but not kept."""
        self._show(f"data: {text}")

    def _show(self, text: str) -> None:
        if not self.quiet:
            say(text)


class Source:
    """Reads files of one form. A new one is one file in ``data/sources/`` with a subclass."""

    kind: ClassVar[str] = "data"
    version: ClassVar[int] = 1
    """raised when the same files give other rows: prepared data is then made anew"""

    @staticmethod
    def matches(path: Path) -> bool:
        """Whether a file or folder is of that form."""
        raise NotImplementedError

    def read(
        self, path: Path, *, columns: dict[str, str], options: dict[str, Any], seed: int, log: Log
    ) -> SourceTables:
        """The rows. See :func:`interlingua.data.source.read`."""
        raise NotImplementedError


@dataclass
class SourceTables:
    """Events and texts as a source has them, columns named by role, values not yet checked."""

    events: pl.DataFrame
    """user_id, item_id and, where there are any, timestamp, rating, part; of any type that can be cast"""
    items: pl.DataFrame | None = None
    """item_id, title, description, categories, ...: one row per item (repeated ids are counted, the first is kept)"""
    users: pl.DataFrame | None = None
    """user_id and texts"""
    name: str = ""
    """what the dataset is called"""
    domain: Domain = Domain()
    """words for prompts"""
    licence: str = "unknown: the source does not say"
    """terms of use"""
    url: str = ""
    """where the source can be got"""
    time_unit: str | None = None
    """what the source says of its times (``s``, ``ms``, ``order``, ``none``); None: guess from the values"""
    times: str | None = None
    """what the times were found to be (a dataset prepared so, whose filter may have made gaps)"""
    time_format: str | None = None
    """how the user says that times are written (``columns.time_format``)"""
    ties: str | None = None
    """the rule by which rows of equal times were put into the order in which they stand (a dataset prepared so)"""
    keep_items: bool = False
    """the source says that items without an event belong to the catalogue (a dataset prepared so)"""
    where: str = ""
    """file or object, for error messages"""
    items_where: str = ""
    """the same of the texts of items, where it is another one"""
    users_where: str = ""
    """the same of the texts of users"""
    path: Path | None = None
    """file or folder that was read; None: rows from memory or a generated world"""
    columns: Mapping[str, str] = field(default_factory=dict)
    """role -> column of the source, as used"""
