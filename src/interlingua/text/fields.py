"""A catalogue row as one string: which columns, in which form, and what stands in for a missing one.

Nothing is truncated here: an encoder cuts at its own token limit.
"""

from __future__ import annotations

from typing import Literal

import polars as pl

from interlingua.config import Config
from interlingua.data.catalogue import TITLE_OF_UNTITLED, Catalogue
from interlingua.errors import ConfigError, unknown

Style = Literal["labelled", "plain", "paper"]
PAPER_MISSING = {"title": "No Title", "description": "No Description"}
"""What the A-LLMRec authors write for a missing title or description"""


class TextConfig(Config):
    """Options of every text source: how an item becomes one string."""

    fields: list[str] = ["title", "categories", "description"]
    """catalogue columns, in the order in which they are written"""
    style: Style = "labelled"
    """``labelled``: ``Title: t. Categories: c``; ``plain``: ``t. c``; ``paper``: ``"t, d"``, quotes included, with
    ``No Title`` and ``No Description`` for what is missing (A-LLMRec's code)"""


def item_texts(catalogue: Catalogue, config: TextConfig) -> list[str]:
    """(I,) one string per item, never empty: an item without any text is ``untitled item <id>``.

    Raises:
        ConfigError: a field that the catalogue does not have.
    """
    items = catalogue.items
    if not config.fields:
        raise ConfigError("text.fields is empty: name at least one catalogue column, e.g. fields = ['title']")
    for field in config.fields:
        if field not in items.columns:
            raise ConfigError(unknown("catalogue column", field, items.columns, "text.fields"))
    columns = {field: _strings(items[field]) for field in config.fields}
    ids = [str(item) for item in items["item_id"].to_list()]
    return [
        describe({field: column[row] for field, column in columns.items()}, config.style, fallback=ids[row])
        for row in range(items.height)
    ]


def describe(row: dict[str, str], style: Style, fallback: str = "") -> str:
    """One item's fields as one string.

    Args:
        row: field -> text, in order; an empty text means that it is missing.
        style: see :class:`TextConfig`.
        fallback: the item's id, shown where no field has a text.
    """
    clean = {field: " ".join(text.split()) for field, text in row.items()}
    if style == "paper":
        parts = [text or PAPER_MISSING.get(field, "") for field, text in clean.items()]
        return f'"{", ".join(part for part in parts if part)}"'
    present = {field: text.rstrip(".") if style == "labelled" else text for field, text in clean.items() if text}
    if not present:
        return TITLE_OF_UNTITLED.format(id=fallback)
    if style == "plain":
        return ". ".join(present.values())
    return ". ".join(f"{field.replace('_', ' ').capitalize()}: {text}" for field, text in present.items())


def _strings(column: pl.Series) -> list[str]:
    """A column as strings, null as empty; lists joined by commas."""
    if isinstance(column.dtype, pl.List):
        return ["" if value is None else ", ".join(str(v) for v in value) for value in column.to_list()]
    return ["" if value is None else str(value) for value in column.to_list()]
