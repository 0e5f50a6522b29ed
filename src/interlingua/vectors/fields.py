"""A catalogue row as one string: columns, format, and replacements for missing values.

Nothing is truncated here: an encoder cuts at its own token limit.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from interlingua.config import Config
from interlingua.data.catalogue import LISTS, TITLE_OF_UNTITLED, Catalogue, values_in
from interlingua.errors import ConfigError, unknown

Style = Literal["labelled", "plain", "paper", "attributes"]
ATTRIBUTE_CHARS = 100
"""an attribute's value is cut after so many characters (LLMEmb)"""
PAPER_MISSING = {"title": "No Title", "description": "No Description"}
"""What the A-LLMRec authors write for a missing title or description"""


class TextConfig(Config):
    """Options of every text source: how an item becomes one string."""

    files: ClassVar[tuple[str, ...]] = ("profiles",)

    @property
    def brings_users(self) -> bool:
        """Whether vectors of users come from a file, not from their texts."""
        return False

    fields: list[str] = ["title", "categories", "description"]
    """catalogue columns, in the order in which they are written"""
    style: Style = "labelled"
    """``labelled``: ``Title: t. Categories: c``; ``plain``: ``t. c``; ``paper``: ``"t, d"``, quotes included, with
    ``No Title`` and ``No Description`` for what is missing (A-LLMRec's code); ``attributes``: ``title is t; category is
    c; ``, each category by itself, values cut at 100 characters (LLMEmb)"""
    users: Literal["none", "texts", "items"] = "none"
    """user vectors: none; from the columns ``user_fields`` of the dataset's users; or the mean over the items that a
    user has in training"""
    user_fields: list[str] = ["profile"]
    """columns of the users table, for ``users = "texts"``"""
    profiles: str | list[str] | None = None
    """folder of a profile set (``interlingua profiles``): its texts stand in for ``fields`` and, with ``users =
    "texts"``, for ``user_fields``; refused where it read interactions that this run holds out. Of several folders the
    texts are joined, in their order"""
    reduce: int | None = Field(None, ge=1)
    """keep so many dimensions, by a truncated SVD of all item and user vectors; None: as they are"""
    control: Literal["none", "shuffled", "noise"] = "none"
    """controls of an experiment: the vectors dealt out anew among the items and among the users, or Gaussian noise of
    the same mean and spread. What a method gains by texts must vanish with either"""

    @property
    def reads_fields(self) -> bool:
        """Whether vectors are made from ``fields``, not from a file or from profiles."""
        return self.profiles is None

    @property
    def most_dims(self) -> int | None:
        """Most dimensions of a vector, if the options limit them."""
        return self.reduce


def item_texts(catalogue: Catalogue, config: TextConfig) -> list[str]:
    """(I,) one string per item, never empty: an item without any text is ``untitled item <id>``.

    Raises:
        ConfigError: a field that the catalogue does not have.
    """
    items, columns = catalogue.items, _columns(catalogue, config)
    ids = [str(item) for item in items["item_id"].to_list()]
    return [
        describe({field: column[row] for field, column in columns.items()}, config.style, fallback=ids[row])
        for row in range(items.height)
    ]


def has_text(catalogue: Catalogue, config: TextConfig) -> list[bool]:
    """(I,) whether :func:`item_texts` has more to say of an item than its id."""
    columns = _columns(catalogue, config).values()
    return [any(text.strip() for text in texts) for texts in zip(*columns, strict=True)]


def _columns(catalogue: Catalogue, config: TextConfig) -> dict[str, list[str]]:
    """Column of the catalogue -> its texts, of the fields that the options name."""
    items = catalogue.items
    if not config.fields:
        raise ConfigError("text.fields is empty: name at least one catalogue column, e.g. fields = ['title']")
    columns: dict[str, list[str]] = {}
    for field in config.fields:
        name = catalogue.column(field)
        if name is None:
            known = [*items.columns, *catalogue.names.values()]
            raise ConfigError(unknown("catalogue column", field, known, "text.fields", ", ".join(catalogue.named)))
        columns[name] = _strings(items[name])
    return columns


def user_texts(catalogue: Catalogue, config: TextConfig) -> list[str] | None:
    """(U,) one string per user from the users table, or None where ``users`` is not ``texts``.

    Raises:
        ConfigError: the dataset has no user texts, or not the columns that were asked for.
    """
    if config.users != "texts":
        return None
    if catalogue.users is None:
        raise ConfigError(
            "text.users = 'texts', but the dataset has no users table with texts; "
            "use text.users = 'items' (the mean of a user's training items)"
        )
    users = catalogue.users
    for field in config.user_fields:
        if field not in users.columns:
            raise ConfigError(unknown("users column", field, users.columns, "text.user_fields"))
    columns = [_strings(users[field]) for field in config.user_fields]
    return [" ".join(" ".join(parts).split()) or "no text" for parts in zip(*columns, strict=True)]


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
    if style == "attributes":
        return _attributes(clean) or TITLE_OF_UNTITLED.format(id=fallback)
    present = {field: text.rstrip(".") if style == "labelled" else text for field, text in clean.items() if text}
    if not present:
        return TITLE_OF_UNTITLED.format(id=fallback)
    if style == "plain":
        return ". ".join(present.values())
    return ". ".join(f"{field.replace('_', ' ').capitalize()}: {text}" for field, text in present.items())


def _attributes(row: dict[str, str]) -> str:
    """``key is value; `` for every value; a semicolon inside a value would end it, and becomes a comma."""
    values = [
        (LISTS.get(field, field.replace("_", " ")), value)
        for field, text in row.items()
        for value in values_in(field, text)
    ]
    return "".join(f"{key} is {value.replace(';', ',')[:ATTRIBUTE_CHARS]}; " for key, value in values)


def _strings(column: pl.Series) -> list[str]:
    """A column as strings, null as empty; lists joined by commas."""
    if isinstance(column.dtype, pl.List):
        return ["" if value is None else ", ".join(str(v) for v in value) for value in column.to_list()]
    return ["" if value is None else str(value) for value in column.to_list()]
