"""One row per item: title, description, categories and the source's other columns; user texts if there are any."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl

from interlingua.data.domain import Domain
from interlingua.data.files.columns import ITEM_ROLES
from interlingua.data.raw import Log

LISTS = {"categories": "category", "tags": "tag"}
"""columns whose texts hold several values -> the word for one of them"""
TITLE_OF_UNTITLED = "untitled item {id}"
"""title of an item without a title, shown and read by encoders: never an empty string"""


@dataclass(frozen=True)
class Catalogue:
    """Item texts in the row order of the interactions."""

    items: pl.DataFrame
    """string columns item_id, title, description, categories (null: none), and the source's other columns"""
    users: pl.DataFrame | None = None
    domain: Domain = Domain()
    """words for prompts"""
    names: Mapping[str, str] = field(default_factory=dict)
    """column -> its name in the source, if that was another"""

    def column(self, name: str) -> str | None:
        """The column with that name: its own, the source's (``genre``), or any known name of its role; or None."""
        if name in self.items.columns:
            return name
        own = next((column for column, word in self.names.items() if word == name), None)
        return own or next((role for role, words in ITEM_ROLES.items() if name.strip().lower() in words), None)

    def with_shuffled_texts(self, seed: int, log: Log) -> Catalogue:
        """The same items with each other's texts, all columns of a line together: a control for what reads texts."""
        log.warn("the items' texts are dealt out at random among them: a control (data.texts)")
        order = np.random.default_rng([seed, len(self)]).permutation(len(self))
        dealt = self.items.drop("item_id")[order]
        return replace(self, items=pl.concat([self.items.select("item_id"), dealt], how="horizontal"))

    @property
    def named(self) -> list[str]:
        """The columns; one with another name in the source has both: ``categories (the source's genre)``."""
        return [f"{c} (the source's {self.names[c]})" if c in self.names else c for c in self.items.columns]

    def __len__(self) -> int:
        return self.items.height

    @cached_property
    def titles(self) -> list[str]:
        """(I,) a printable, non-empty title for each item."""
        pairs = zip(self.items["item_id"].to_list(), self.items["title"].to_list(), strict=True)
        return [t if t and t.strip() else TITLE_OF_UNTITLED.format(id=i) for i, t in pairs]

    @cached_property
    def categories(self) -> list[frozenset[str]]:
        """(I,) each item's categories; empty where there are none."""
        return [frozenset(split_categories(text or "")) for text in self.items["categories"].to_list()]

    @cached_property
    def properties(self) -> tuple[str, ...]:
        """Names of the columns that say something of an item, besides its title and description (``category``)."""
        items = self.items.drop("item_id", "title", "description", strict=False)
        said = [name for name in items.columns if items[name].null_count() < items.height]
        return tuple("category" if name == "categories" else name for name in said)


def values_in(column: str, cell: object) -> list[str]:
    """The values of a cell: each of a list, each part of a text in :data:`LISTS`, else the cell; none that is empty."""
    if cell is None:
        return []
    if isinstance(cell, list | tuple):
        each = [str(value).strip() for value in cell if value is not None]
    else:
        each = split_categories(str(cell)) if column in LISTS else [str(cell).strip()]
    return [value for value in each if value]


def split_categories(text: str) -> list[str]:
    """The categories of ``A|B``, ``A, B``, ``A; B`` or ``A > B``."""
    return [part.strip() for part in re.split(r"[|,;>]", text) if part.strip()]
