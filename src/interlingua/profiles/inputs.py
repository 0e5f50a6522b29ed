"""The inputs of a profile: catalogue fields, and train interactions only.

Every user-item pair that a prompt reads is recorded, so that a run with another split can tell whether the profiles saw
what it holds out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from interlingua.data.files.columns import EVENT_ROLES, rename
from interlingua.data.files.tables import any_table
from interlingua.data.prepared import Dataset
from interlingua.data.raw import Log
from interlingua.errors import ConfigError, DataError, unknown
from interlingua.profiles.config import FIELDS, ProfilesConfig
from interlingua.vectors.fields import describe

REVIEW_ROLES = {
    "user_id": EVENT_ROLES["user_id"],
    "item_id": EVENT_ROLES["item_id"],
    "text": ("review", "reviewtext", "review_text", "review_body", "text", "comment", "body", "content"),
}
NONE = "None"
"""stands for a field without a value, as in RLMRec's prompts"""


@dataclass(frozen=True)
class Input:
    """The content of one entity's prompt."""

    payload: str
    """JSON; empty: there is nothing to write a profile from"""
    sources: tuple[str, ...]
    """ids of the users (or items) whose train interactions with this entity are read"""
    fallback: str
    """the text used if there is no profile: an item's fields, a user's titles"""


@dataclass
class Inputs:
    """The contents of prompts for one prepared dataset."""

    prepared: Dataset
    config: ProfilesConfig
    seed: int
    """seed of the samples; each entity draws by its own id, so that its sample does not depend on the other entities"""
    reviews: Mapping[tuple[int, int], str] = field(default_factory=dict)
    """(user index, item index) -> review, of train interactions only (see :func:`read_reviews`)"""

    name = ""
    """of the profile set that is rewritten: none"""

    @cached_property
    def fields(self) -> list[str]:
        """Catalogue columns that are shown.

        Raises:
            ConfigError: a chosen column that the catalogue does not have.
        """
        catalogue = self.prepared.catalogue
        found = {name: catalogue.column(name) for name in self.config.fields}
        for name, column in found.items():
            if column is None and name not in FIELDS:
                raise ConfigError(unknown("catalogue column", name, catalogue.items.columns, "fields"))
        return list(dict.fromkeys(column for column in found.values() if column is not None))

    @cached_property
    def _columns(self) -> dict[str, list[Any]]:
        items = self.prepared.catalogue.items
        return {name: items[name].cast(pl.String).to_list() for name in self.fields}

    @cached_property
    def _reviewers(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for user, item in sorted(self.reviews):
            found.setdefault(item, []).append(user)
        return found

    def item(self, row: int) -> Input:
        """The content of one item's prompt: its fields and, where it has no description, some of its train reviews."""
        train = self.prepared.split.train
        item_id = str(train.item_ids[row])
        values = {name: " ".join((column[row] or "").split()) for name, column in self._columns.items()}
        fallback = describe(dict(values), "labelled", fallback=item_id)
        shown: dict[str, Any] = {name: self._cut(value) or NONE for name, value in values.items()}
        users: list[int] = []
        if not values.get("description") and self.config.item_reviews:
            users = self._drawn("item", item_id, self._reviewers.get(row, []), self.config.item_reviews)
            if users:
                shown["reviews"] = [self._cut(self.reviews[user, row]) for user in users]
        known = any(values.values()) or bool(users)
        payload = json.dumps(shown, ensure_ascii=False) if known else ""
        return Input(payload, tuple(str(train.user_ids[user]) for user in users), fallback)

    def user_items(self, row: int) -> list[int]:
        """Indices of the train items that one user's prompt shows, in the order of the history."""
        train = self.prepared.split.train
        history = list(dict.fromkeys(train.history(row).tolist()))
        return self._drawn("user", str(train.user_ids[row]), history, self.config.sample_items)

    def user(self, row: int, item_texts: Mapping[int, str]) -> Input:
        """The content of one user's prompt.

        Args:
            row: the user.
            item_texts: profile (or its fallback) of every item in :meth:`user_items`.
        """
        train, titles = self.prepared.split.train, self.prepared.catalogue.titles
        items = self.user_items(row)
        entries = [
            {
                "title": self._cut(titles[item]),
                "description": self._cut(item_texts[item]),
                "review": self._cut(self.reviews.get((row, item), "")) or NONE,
            }
            for item in items
        ]
        fallback = "; ".join(titles[item] for item in items) or "a user without known items"
        payload = json.dumps(entries, ensure_ascii=False) if entries else ""
        return Input(payload, tuple(str(train.item_ids[item]) for item in items), fallback)

    def _cut(self, text: str) -> str:
        limit = self.config.max_field_chars
        return text if len(text) <= limit else text[: limit - 3].rstrip() + "..."

    def _drawn(self, side: str, ident: str, indices: Sequence[int], count: int) -> list[int]:
        if len(indices) <= count:
            return list(indices)
        chosen = generator(self.seed, side, ident).choice(len(indices), count, replace=False)
        return [indices[position] for position in sorted(chosen.tolist())]


def generator(seed: int, *names: str) -> np.random.Generator:
    """Random numbers that follow from a seed and a name, whatever else is drawn."""
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])


def sampled_rows(count: int, total: int, seed: int, side: str) -> npt.NDArray[np.int64]:
    """A uniform sample of ``count`` rows in ascending order (all of them where there are not more)."""
    if count >= total:
        return np.arange(total)
    return np.sort(generator(seed, "sample", side).choice(total, count, replace=False))


def read_reviews(path: Path, prepared: Dataset, log: Log | None = None) -> dict[tuple[int, int], str]:
    """Reviews of train interactions from a table with user, item and text columns (csv, tsv, parquet, json lines).

    A pair is left out if any of its events is held out, even if another one is in train: the text may belong to either.
    What is left out is counted and shown.

    Raises:
        DataError: the table cannot be read or lacks these columns.
    """
    log = log or Log()
    frame, used = rename(any_table(path, log, REVIEW_ROLES), REVIEW_ROLES, {}, str(path), log)
    missing = [role for role in REVIEW_ROLES if role not in used]
    if missing:
        raise DataError(f"{path} has no column for {', '.join(missing)}; it has: {', '.join(frame.columns)}")
    train = prepared.split.train
    held = {
        (int(user), int(item))
        for part in (prepared.split.valid, prepared.split.test)
        for user, item in zip(np.repeat(part.users, np.diff(part.offsets)), part.items, strict=True)
    }
    pairs = set(zip(train.users.tolist(), train.items.tolist(), strict=True)) - held
    found: dict[tuple[int, int], str] = {}
    for user, item, text in frame.select(pl.col(role).cast(pl.String) for role in REVIEW_ROLES).iter_rows():
        pair = (train.user_indices.get(user or "", -1), train.item_indices.get(item or "", -1))
        if pair in pairs and text and text.strip():
            found.setdefault(pair, " ".join(text.split()))
    log.step("reviews of train interactions", frame.height, len(found))
    return found
