"""RLMRec's published files: three matrices with the split, profiles and their vectors, all of them pickles.

``trn_mat.pkl``, ``val_mat.pkl``, ``tst_mat.pkl`` (users x items), ``usr_prf.pkl``, ``itm_prf.pkl`` (row -> profile,
reasoning), ``usr_emb_np.pkl``, ``itm_emb_np.pkl`` (rows x 1,536). They are read by
:mod:`interlingua.data.files.restricted_pickle`, which runs nothing of them.

Ids are the indices with leading zeros, so that sorted ids are in the published order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp

from interlingua.data.files.restricted_pickle import read_pickle
from interlingua.errors import DataError, first_line

PARTS = {"trn": "trn_mat.pkl", "val": "val_mat.pkl", "tst": "tst_mat.pkl"}
SIDES = {"users": "usr", "items": "itm"}


@dataclass(frozen=True)
class Published:
    """The folder's content as tables."""

    events: pl.DataFrame
    """user_id, item_id, split"""
    items: pl.DataFrame
    """item_id and, if there are profiles, description (the profile) and reasoning"""
    users: pl.DataFrame
    """user_id and, if there are profiles, profile and reasoning"""


def is_published(path: Path) -> bool:
    """Whether the folder has the training matrix."""
    return (path / PARTS["trn"]).is_file()


def published(path: Path) -> Published:
    """Reads matrices and profiles.

    Raises:
        DataError: a file is missing, is refused, or does not fit the others.
    """
    matrices = {part: _matrix(path / name) for part, name in PARTS.items()}
    shapes = {part: matrix.shape for part, matrix in matrices.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"{path}: the matrices have different shapes: {shapes}")
    num_users, num_items = shapes["trn"]
    user_ids, item_ids = ids_of(num_users), ids_of(num_items)
    frames = []
    for part, matrix in matrices.items():
        nonzero = matrix.data != 0
        frames.append(
            pl.DataFrame(
                {
                    "user_id": user_ids.gather(matrix.row[nonzero]),
                    "item_id": item_ids.gather(matrix.col[nonzero]),
                    "split": [part] * int(nonzero.sum()),
                }
            )
        )
    items = _profiles(path, "items", item_ids).rename({"profile": "description"}, strict=False)
    return Published(pl.concat(frames), items, _profiles(path, "users", user_ids))


def vectors(path: Path, side: str) -> npt.NDArray[np.float32] | None:
    """(n, T) published vectors of ``users`` or ``items``, None if the folder has none.

    Raises:
        DataError: the file is refused, or is not a table of finite numbers.
    """
    file = path / f"{SIDES[side]}_emb_np.pkl"
    if not file.is_file():
        return None
    found = read_pickle(file)
    if isinstance(found, list) and found and all(isinstance(row, np.ndarray) for row in found):
        if len({row.shape for row in found}) > 1:
            raise DataError(f"{file} holds vectors of different shapes")
        found = np.stack(found)
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "iuf":
        raise DataError(f"{file} holds a {_what(found)} instead of a table of numbers")
    if not np.isfinite(found).all():
        raise DataError(f"{file} holds NaN or infinity")
    return found.astype(np.float32)


def ids_of(count: int) -> pl.Series:
    """Indices as texts of equal length."""
    width = len(str(max(count - 1, 0)))
    return pl.Series([f"{row:0{width}d}" for row in range(count)], dtype=pl.String)


def convert(path: Path, out: Path) -> dict[str, Any]:
    """Writes the folder as parquet: events with their split, texts, and vectors with their ids.

    ``interactions.parquet``, ``items.parquet`` and ``users.parquet`` are a dataset of the reader ``rlmrec``;
    ``item_vectors.parquet`` and ``user_vectors.parquet`` are files for the text source ``npy``.

    Returns:
        Files written, and their rows.

    Raises:
        DataError: the folder is not one of RLMRec's, or ``out`` cannot be written.
    """
    if not is_published(path):
        raise DataError(f"{path} holds no {PARTS['trn']}: only a folder with RLMRec's published files is converted")
    found = published(path)
    tables = {"interactions": found.events, "items": found.items, "users": found.users}
    for side, table in (("users", found.users), ("items", found.items)):
        rows = vectors(path, side)
        if rows is None:
            continue
        if len(rows) != table.height:
            raise DataError(f"{path}: {len(rows)} vectors of {side}, but the matrices have {table.height} {side}")
        key = f"{side[:-1]}_id"
        column = pl.Series("vector", rows, dtype=pl.Array(pl.Float32, rows.shape[1])).cast(pl.List(pl.Float32))
        tables[f"{side[:-1]}_vectors"] = pl.DataFrame({key: table[key], "vector": column})
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            table.write_parquet(out / f"{name}.parquet")
    except (OSError, pl.exceptions.PolarsError) as error:  # polars reports a full disk as an error of its own
        raise DataError(
            f"cannot write to {out}: {first_line(error)}; free space or choose a writable folder"
        ) from error
    return {f"{name}.parquet": table.height for name, table in tables.items()}


def _matrix(file: Path) -> Any:
    found = read_pickle(file)
    if not sp.issparse(found):
        raise DataError(f"{file} holds a {_what(found)} instead of a sparse matrix")
    return found.tocoo()


def _profiles(path: Path, side: str, ids: pl.Series) -> pl.DataFrame:
    key = f"{side[:-1]}_id"
    file = path / f"{SIDES[side]}_prf.pkl"
    if not file.is_file():
        return pl.DataFrame({key: ids})
    found = read_pickle(file)
    entries = dict(enumerate(found)) if isinstance(found, list) else found
    if not isinstance(entries, dict) or not all(str(row).isdecimal() for row in entries):
        raise DataError(f"{file} holds a {_what(found)} instead of a dictionary from row numbers to profiles")
    by_row = {int(row): entry for row, entry in entries.items()}
    beyond = [row for row in by_row if row >= len(ids)]
    if beyond:
        raise DataError(f"{file} has a profile of row {beyond[0]}, but the matrices have {len(ids)} {side}")
    rows = [by_row.get(row) for row in range(len(ids))]
    texts = {
        name: [_text(entry, name) for entry in rows]
        for name in ("profile", "reasoning")
        if name == "profile" or any(isinstance(entry, dict) and name in entry for entry in rows)
    }
    return pl.DataFrame({key: ids} | {name: pl.Series(column, dtype=pl.String) for name, column in texts.items()})


def _text(entry: Any, name: str) -> str | None:
    value = entry.get(name) if isinstance(entry, dict) else entry if name == "profile" else None
    return value if isinstance(value, str) else None


def _what(value: Any) -> str:
    shape = f" of shape {value.shape}" if hasattr(value, "shape") else ""
    return type(value).__name__ + shape
