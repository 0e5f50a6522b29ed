"""One row per item: title, description, categories and whatever else the source has; user texts where there are any."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from interlingua.data.domain import Domain

TITLE_OF_UNTITLED = "untitled item {id}"
"""Shown, and read by encoders, where an item has no title: never an empty string"""


@dataclass(frozen=True)
class Catalogue:
    """Item texts in the row order of the interactions."""

    items: pl.DataFrame
    """string columns item_id, title, description, categories (null: none), and whatever more the source has"""
    users: pl.DataFrame | None = None
    domain: Domain = Domain()
    """words for prompts"""

    def __len__(self) -> int:
        return self.items.height

    @cached_property
    def titles(self) -> list[str]:
        """(I,) a printable, non-empty title of each item."""
        rows = zip(self.items["item_id"].to_list(), self.items["title"].to_list(), strict=True)
        return [t if t and t.strip() else TITLE_OF_UNTITLED.format(id=i) for i, t in rows]

    @cached_property
    def categories(self) -> list[frozenset[str]]:
        """(I,) each item's categories; empty where there are none."""
        return [frozenset(split_categories(text or "")) for text in self.items["categories"].to_list()]


def split_categories(text: str) -> list[str]:
    """The categories of ``A|B``, ``A, B``, ``A; B`` or ``A > B``."""
    return [part.strip() for part in re.split(r"[|,;>]", text) if part.strip()]
