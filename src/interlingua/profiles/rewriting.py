"""The inputs of a rewritten profile: another set's text, and nothing else.

ProEx (arXiv 2512.00679) has further profiles written from the first one; here they are sets of their own, beside it. A
prompt shows one text of the first set, so a rewritten profile has read what that one had, and is refused where that is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from interlingua.data.prepared import Dataset
from interlingua.errors import ConfigError
from interlingua.profiles.inputs import Input
from interlingua.profiles.store import ID, ProfileSet, load


@dataclass(frozen=True)
class Rewriting:
    """The contents of prompts, by row of the data."""

    name: str
    """hash of the set that is rewritten"""
    items: Mapping[int, Input]
    users: Mapping[int, Input]

    @classmethod
    def of(cls, folder: str, prepared: Dataset, out: Path) -> Rewriting:
        """Of a stored set.

        Raises:
            ConfigError: it would be written over itself.
            DataError: there is no set, it is of other data, or it has read what this split holds out.
        """
        if Path(folder).expanduser().resolve() == out.expanduser().resolve():
            raise ConfigError(f"based_on = {folder!r} is the folder of the new set too: choose another --out")
        base, train = load(Path(folder).expanduser()), prepared.split.train
        base.check(prepared)
        items = _inputs(base, base.items, "items", [str(ident) for ident in train.item_ids])
        users = _inputs(base, base.users, "users", [str(ident) for ident in train.user_ids])
        return cls(base.fingerprint, items, users)

    def item(self, row: int) -> Input:
        """The content of one item's prompt."""
        return self.items[row]

    def user(self, row: int, item_texts: Mapping[int, str]) -> Input:
        """The content of one user's prompt; texts of items are not shown again."""
        return self.users[row]


def _inputs(base: ProfileSet, frame: pl.DataFrame, side: str, ids: list[str]) -> dict[int, Input]:
    """What a model wrote is rewritten; a fallback text stays as it is, and stands in for the rewritten one too."""
    base.texts(side, ids)  # type: ignore[arg-type]  # all of them are there
    by_id = {row[ID[side]]: row for row in frame.iter_rows(named=True)}
    found = {}
    for number, ident in enumerate(ids):
        row = by_id[ident]
        written = row["status"] == "written"
        payload = json.dumps({"profile": row["profile"]}, ensure_ascii=False) if written else ""
        found[number] = Input(payload, tuple(row["sources"]), row["profile"])
    return found
