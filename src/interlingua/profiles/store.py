"""A folder of profiles: one text per item and user, how each was made, and from which interactions.

``items.parquet`` and ``users.parquet`` hold id, profile, reasoning, status, reason and sources; ``card.json`` says
which model wrote them with which prompts, of which data, with what coverage, at what cost, and is written last.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from interlingua.contracts.ranker import Profiles
from interlingua.data.interactions import Interactions
from interlingua.data.prepared import Dataset
from interlingua.errors import DataError, first_line
from interlingua.storage import artifact, durable
from interlingua.storage.exact_files import read_parquet

SCHEMA = 1
CARD = "card.json"
KIND = "profiles"
Status = Literal["written", "failed", "unasked", "empty"]
STATUSES = ("written", "failed", "unasked", "empty")
"""``written`` by the model; otherwise the fallback text stands in: the model ``failed``, was not asked (``unasked``:
outside the sample, or the run was stopped), or there was nothing to write from (``empty``)"""
ID = {"items": "item_id", "users": "user_id"}


@dataclass(frozen=True)
class Row:
    """One profile."""

    id: str
    profile: str
    """the model's summarization, or the fallback text; never empty"""
    reasoning: str
    status: Status
    reason: str
    """why there is only a fallback text"""
    sources: tuple[str, ...]
    """ids of the users (or items) whose train interactions the prompt showed; empty if there was no prompt"""


@dataclass(frozen=True)
class ProfileSet:
    """Stored profiles of items and users."""

    path: Path
    items: pl.DataFrame
    users: pl.DataFrame
    card: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Hash of both tables, for a stage's key."""
        return artifact.content_key({"files": self.card["files"]})

    def texts(self, side: Literal["items", "users"], ids: Sequence[str]) -> list[str]:
        """The profile of each id, in that order.

        Raises:
            DataError: an id is not in the set.
        """
        frame = self.items if side == "items" else self.users
        known = dict(zip(frame[ID[side]].to_list(), frame["profile"].to_list(), strict=True))
        missing = [ident for ident in ids if ident not in known]
        if missing:
            raise DataError(
                f"{self.path} has no profile of {len(missing)} of {len(ids)} {side} (e.g. {', '.join(missing[:3])}); "
                "it was made for other data: run interlingua profiles on this recipe's data"
            )
        return [known[ident] for ident in ids]

    def check(self, prepared: Dataset) -> None:
        """Refuses profiles that read more than the train part of this dataset.

        Every user-item pair that a prompt showed must be a train interaction here. The same data with the same split
        pass; another split passes only if nothing that it holds out was read.

        Raises:
            DataError: some pairs are held out; the message has their number and an example, and says what to do.
        """
        if self.card["data"]["fingerprint"] == prepared.fingerprint:
            return
        allowed = _pairs(prepared.split.train)
        read = {(user, item) for user, items in _sources(self.users, "user_id") for item in items}
        read |= {(user, item) for item, users in _sources(self.items, "item_id") for user in users}
        beyond = sorted(read - allowed)
        if beyond:
            made, here = self.card["data"], prepared.card
            user, item = beyond[0]
            raise DataError(
                f"the profiles in {self.path} were written from {len(beyond):,} of {len(read):,} interactions that are "
                f"not in the train part of this run (e.g. user {user}, item {item}): they were made for "
                f"{made['name']} with split {made['protocol']} (horizon {_moment(made['horizon'])}), this run uses "
                f"{here['name']} with split {prepared.split.protocol} (horizon {_moment(prepared.split.horizon)}), so "
                "they would leak what it measures; write profiles for this split with: interlingua profiles"
            )


def joined_texts(stored: Sequence[ProfileSet], side: Literal["items", "users"], ids: Sequence[str]) -> list[str]:
    """One text for each id: what every set says of it, in their order, equal texts once.

    Raises:
        DataError: an id is not in one of the sets.
    """
    several = [each.texts(side, ids) for each in stored]
    return [" ".join(dict.fromkeys(texts)) for texts in zip(*several, strict=True)]


def written_profiles(folder: Path | str, prepared: Dataset) -> Profiles:
    """A set's texts of all items and training users of a dataset, for a ranker.

    Raises:
        DataError: see :func:`load`, :meth:`ProfileSet.check` and :meth:`ProfileSet.texts`.
    """
    stored, train = load(folder), prepared.split.train
    stored.check(prepared)
    items, users = ([str(each) for each in ids] for ids in (train.item_ids, train.user_ids))
    return Profiles(stored.texts("items", items), stored.texts("users", users))


def _pairs(train: Interactions) -> set[tuple[str, str]]:
    users, items = train.user_ids.astype(str), train.item_ids.astype(str)
    return set(zip(users[train.users].tolist(), items[train.items].tolist(), strict=True))


def _sources(frame: pl.DataFrame, key: str) -> zip[tuple[str, list[str]]]:
    return zip(frame[key].to_list(), frame["sources"].to_list(), strict=True)


def _moment(horizon: int | None) -> str:
    return "order only" if horizon is None else str(horizon)


def save(folder: Path, items: Sequence[Row], users: Sequence[Row], card: dict[str, Any]) -> ProfileSet:
    """Writes the set: tables first, the card last. An older card is removed first, so no incomplete set has one.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    with artifact.disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CARD).unlink(missing_ok=True)
        hashes = {}
        for side, rows in (("items", items), ("users", users)):
            temporary = folder / f".{side}.parquet.tmp"
            _frame(side, rows).write_parquet(temporary)
            durable.replace(temporary, folder / f"{side}.parquet")
            hashes[f"{side}.parquet"] = artifact.file_hash(folder / f"{side}.parquet")
        whole = {"schema": SCHEMA, "kind": KIND, **card, "versions": artifact.versions(), "files": hashes}
        temporary = folder / f".{CARD}.tmp"
        temporary.write_text(json.dumps(whole, indent=1, ensure_ascii=False), encoding="utf-8")
        durable.replace(temporary, folder / CARD)
    return load(folder)


def _frame(side: str, rows: Sequence[Row]) -> pl.DataFrame:
    columns: dict[str, Any] = {ID[side]: pl.Series([row.id for row in rows], dtype=pl.String)}
    for name in ("profile", "reasoning", "status", "reason"):
        columns[name] = pl.Series([getattr(row, name) for row in rows], dtype=pl.String)
    columns["sources"] = pl.Series([list(row.sources) for row in rows], dtype=pl.List(pl.String))
    return pl.DataFrame(columns)


def load(folder: Path | str) -> ProfileSet:
    """Reads and verifies a profile set.

    Raises:
        DataError: there is none, its schema is newer, or files do not match the card.
    """
    folder = Path(folder)
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        kind, schema, hashes = card["kind"], int(card["schema"]), dict(card["files"])
    except FileNotFoundError:
        raise DataError(
            f"{folder} holds no profile set ({CARD} is missing); make one with: interlingua profiles RECIPE --out "
            f"{folder} (run again, an interrupted one continues)"
        ) from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(f"{folder / CARD} is not the card of a profile set ({error!r})") from None
    if kind != KIND or schema > SCHEMA:
        raise DataError(
            f"{folder} holds {kind!r} with schema {schema}; this interlingua reads {KIND!r} up to schema {SCHEMA}"
        )
    for name, expected in hashes.items():
        if not (folder / name).is_file() or artifact.file_hash(folder / name) != expected:
            raise DataError(f"{folder / name} is missing or was changed after it was written; make the profiles again")
    try:
        items, users = read_parquet(folder / "items.parquet"), read_parquet(folder / "users.parquet")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{folder} is incomplete or damaged ({first_line(error)}); make the profiles again") from None
    return ProfileSet(folder, items, users, card)
