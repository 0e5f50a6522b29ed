"""A prepared dataset: its parts, its fingerprint, and its folder on disk (parquet and one JSON card)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from interlingua.data.catalogue import Catalogue
from interlingua.data.domain import Domain
from interlingua.data.interactions import Interactions
from interlingua.data.split import Split
from interlingua.data.splitting import PARTS, Parts, of_parts
from interlingua.errors import DataError, first_line
from interlingua.storage import durable
from interlingua.storage.exact_files import read_parquet
from interlingua.storage.staging import left_over, staging

SCHEMA = 1
CARD = "card.json"
TABLES = ("interactions", "items", "users")
MAX_ID_BYTES = 1 << 29
"""larger id arrays are kept as Python strings instead of fixed-width ones (one very long id is enough)"""


@dataclass(frozen=True)
class Dataset:
    """A dataset that every later stage reads."""

    interactions: Interactions
    """all events after filtering"""
    catalogue: Catalogue
    """rows in item order"""
    split: Split
    """train, valid and test of the same rows"""
    card: dict[str, Any]
    """name, domain, time, licence, url, steps, decisions, warnings, counts, fingerprint"""
    parts: Parts
    """(N,) 0 train, 1 valid, 2 test, 3 unused, for each event of ``interactions``"""
    source: Path | None = None
    """file or folder from which it was read, which :func:`save` never overwrites; None: it came from memory"""

    @property
    def has_times(self) -> bool:
        """Whether events have times of one clock, and not all the same: positions and rows of a file are none."""
        time = self.card["time"]
        return bool(time["kind"] == "seconds" and time["first"] < time["last"])

    @cached_property
    def on_record(self) -> Interactions:
        """All events that a recommendation may read as history: only the liked ones if they are labelled."""
        return self.interactions.liked()

    @property
    def fingerprint(self) -> str:
        """sha256 over ids, events, parts and texts."""
        return str(self.card["fingerprint"])


def fingerprint(interactions: Interactions, catalogue: Catalogue, parts: Parts, protocol: str) -> str:
    """sha256 over ids, events, parts, texts and the protocol: equal fingerprints mean equal data."""
    digest = hashlib.sha256(protocol.encode())

    def text(values: list[Any]) -> None:
        encoded = [b"\xff" if v is None else str(v).encode("utf-8", "surrogatepass") for v in values]
        digest.update(np.fromiter((len(e) for e in encoded), np.int64, len(encoded)).tobytes())
        digest.update(b"".join(encoded))

    text(interactions.user_ids.tolist())
    text(interactions.item_ids.tolist())
    for array in (interactions.users, interactions.items, interactions.times, parts):
        digest.update(np.ascontiguousarray(array).data)
    for known in (interactions.ratings, interactions.labels):
        if known is not None:
            digest.update(np.ascontiguousarray(known).data)
    for frame in (catalogue.items, catalogue.users):
        for column in [] if frame is None else frame.columns:
            digest.update(column.encode())
            text(frame[column].to_list())  # type: ignore[index]
    digest.update(repr(sorted(vars(catalogue.domain).items())).encode())
    return digest.hexdigest()


def id_array(values: pl.Series) -> npt.NDArray[Any]:
    """Ids as fixed-width strings (no pickle when saved), or Python strings if one is very long."""
    longest = int(values.str.len_chars().max() or 1)  # type: ignore[arg-type]
    ends_in_null = bool(values.str.ends_with("\0").any())  # numpy cuts trailing zero characters
    if ends_in_null or longest * 4 * len(values) > MAX_ID_BYTES:
        return values.to_numpy()
    return np.array(values.to_list(), dtype=f"<U{max(longest, 1)}")


def save(prepared: Dataset, folder: Path | str) -> Path:
    """Writes ``interactions.parquet`` (with a column ``part``), ``items.parquet``, ``users.parquet``, ``card.json``.

    An existing dataset is replaced once the new one is complete; other files in the folder stay.

    Raises:
        DataError: the folder is the dataset's own source, holds something else than a prepared dataset, or cannot be
            written; its content is untouched.
    """
    folder = Path(folder)
    check_target(folder, prepared.source)
    events, catalogue = prepared.interactions, prepared.catalogue
    user_ids = pl.Series(events.user_ids.tolist(), dtype=pl.String)
    item_ids = pl.Series(events.item_ids.tolist(), dtype=pl.String)
    frame = pl.DataFrame(
        {
            "user_id": user_ids.gather(events.users),
            "item_id": item_ids.gather(events.items),
            "timestamp": events.times,
            "part": pl.Series(prepared.parts).replace_strict(dict(enumerate(PARTS)), return_dtype=pl.Enum(PARTS)),
        }
    )
    if events.ratings is not None:
        frame.insert_column(3, pl.Series("rating", events.ratings))
    if events.labels is not None:
        frame = frame.with_columns(pl.Series("label", events.labels))
    users = pl.DataFrame({"user_id": user_ids}) if catalogue.users is None else catalogue.users
    card = {"schema": SCHEMA, **prepared.card}
    try:
        with _whole(folder) as temporary:
            frame.write_parquet(temporary / "interactions.parquet", compression="zstd", compression_level=1)
            catalogue.items.write_parquet(temporary / "items.parquet")
            users.write_parquet(temporary / "users.parquet")
            (temporary / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")
    except (OSError, pl.exceptions.PolarsError) as error:  # polars reports a full disk as an error of its own
        raise DataError(
            f"cannot write the dataset to {folder}: {first_line(error)}; free space or choose a writable folder"
        ) from error
    return folder


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder; its files move to ``folder`` only if nothing failed."""
    final = folder.resolve()  # a link is followed: what it points to is replaced, not the link
    # inside a folder that exists: its parent may be read-only, or another disk to which nothing can be renamed
    where = final if final.is_dir() else final.parent
    with staging(where, final.name) as temporary:
        yield temporary
        if not final.exists():
            durable.replace(temporary, final)
            return
        (final / CARD).unlink(missing_ok=True)  # no card, no dataset: old and new files are never read together
        for file in sorted(temporary.iterdir(), key=lambda f: f.name == CARD):  # the card last
            durable.replace(file, final / file.name)


def check_target(folder: Path, source: Path | None = None) -> None:
    """Refuses a folder in which :func:`save` would overwrite other files.

    Args:
        folder: the target; files that :func:`save` wrote there before, finished or not, may be replaced.
        source: file or folder from which the dataset is read.

    Raises:
        DataError: the folder holds something else, or is the source.
    """
    advice = "name a new or empty folder (--out; Python: save(prepared, FOLDER))"
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file, and a dataset is a folder; {advice}")
    if source is not None:
        here, read = folder.resolve(), source.resolve()
        if read == here or read in [here / f"{name}.parquet" for name in TABLES]:
            raise DataError(
                f"{folder} is what the dataset is read from ({source}), and preparing would overwrite it; "
                "name another folder (--out; Python: save(prepared, FOLDER))"
            )
    if not folder.is_dir() or is_prepared(folder) or left_over(folder, folder.resolve().name):
        return  # the last: an earlier save was killed while it put its files in place
    if found := sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")):
        shown = ", ".join(found[:6]) + (", ..." if len(found) > 6 else "")
        raise DataError(f"{folder} holds something else than a prepared dataset ({shown}); {advice}")


def is_prepared(folder: Path | str) -> bool:
    """Whether :func:`save` wrote this folder."""
    path = Path(folder) / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(card, dict) and "fingerprint" in card


def load(folder: Path | str, *, verify: bool = True) -> Dataset:
    """Reads a dataset that :func:`save` wrote.

    Args:
        folder: a prepared dataset.
        verify: compute the fingerprint again and compare it with the card's.

    Raises:
        DataError: no prepared dataset in the folder, a newer schema, or files that do not match the card.
    """
    folder = Path(folder)
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        schema, expected, kind = card.pop("schema"), card["fingerprint"], card["time"]["kind"]
        domain, protocol = Domain(**card["domain"]), card["split"]["protocol"]
        valid_known, notes = card["split"]["valid_in_test_history"], tuple(card["split"].get("notes", ()))
        unseen = bool(card["split"].get("unseen", False))
    except FileNotFoundError:
        raise DataError(
            f"{folder} holds no prepared dataset ({CARD} is missing); "
            "make one with: interlingua data prepare SOURCE --out FOLDER"
        ) from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(
            f"{folder / CARD} is not the card of a prepared dataset ({error!r}); prepare the data again"
        ) from None
    if schema > SCHEMA:
        raise DataError(
            f"{folder} has schema {schema}, this interlingua reads up to {SCHEMA}; install the later one that wrote it"
        )
    try:
        frame, items, users = (read_parquet(folder / f"{n}.parquet") for n in TABLES)
        events, parts = _decode(frame, items["item_id"], users["user_id"])
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{folder} is incomplete or damaged ({first_line(error)}); prepare the data again") from None
    catalogue = Catalogue(items, users if users.width > 1 else None, domain, card.get("item_names", {}))
    if verify and (got := fingerprint(events, catalogue, parts, protocol)) != expected:
        raise DataError(
            f"{folder} was changed after it was written: fingerprint {got[:12]} instead of {expected[:12]}; "
            "prepare it again"
        )
    split = of_parts(events, parts, protocol=protocol, valid_known=valid_known, kind=kind, notes=notes, unseen=unseen)
    return Dataset(events, catalogue, split, card, parts, folder)


def _decode(frame: pl.DataFrame, item_ids: pl.Series, user_ids: pl.Series) -> tuple[Interactions, Parts]:
    rows = {
        column: frame[column].cast(pl.Enum(ids)).to_physical().cast(pl.Int32).to_numpy()
        for column, ids in (("user_id", user_ids), ("item_id", item_ids))
    }
    ratings = frame["rating"].to_numpy() if "rating" in frame.columns else None
    parts = frame["part"].cast(pl.Enum(PARTS)).to_physical().cast(pl.Int8).to_numpy()
    times = frame["timestamp"].to_numpy()
    labels = frame["label"].to_numpy() if "label" in frame.columns else None
    ids = id_array(user_ids), id_array(item_ids)
    return Interactions(*ids, rows["user_id"], rows["item_id"], times, ratings, labels), parts
