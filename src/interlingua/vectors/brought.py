"""Vectors from anywhere, as a matrix and external ids: files, arrays, frames, and models of other libraries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from interlingua.contracts.batch import FloatArray
from interlingua.data.files.frames import is_frame, to_polars
from interlingua.errors import DataError, shown
from interlingua.vectors.id_files import ID_NAMES, id_name, id_strings, read_ids
from interlingua.vectors.vector_columns import VECTOR, matrix_of
from interlingua.vectors.vector_files import matrix_and_ids

ARRAYS = {"items": ("items", "item_factors", "vectors"), "users": ("users", "user_factors", "vectors")}
"""side -> names of a matrix in an archive or a mapping; the first that is there is taken"""
FORMS = (
    "a file (.npy, .npz, .parquet, .safetensors), an array, (array, ids), a mapping id -> vector, a frame with a "
    "column of ids, or a model with item_factors (implicit) or get_vectors (RecTools)"
)


def read_brought(source: Any, side: str, ids: Any = None) -> tuple[FloatArray, list[str] | None]:
    """(n, D) vectors and, where they are known, their (n,) ids.

    Args:
        source: see :data:`FORMS`.
        side: ``items`` or ``users``.
        ids: external ids of the rows: a list, an array, or a file that
            :func:`interlingua.vectors.id_files.read_ids` reads; None: those that the source has.

    Raises:
        DataError: nothing that holds vectors, values that are not finite, or ids that do not fit.
    """
    matrix, own = _read(source, side)
    where = f"{side}: {shown(source)}"
    try:
        vectors = np.ascontiguousarray(matrix, dtype=np.float32)
    except (TypeError, ValueError):
        raise DataError(f"{where} holds no numbers; give {FORMS}") from None
    if vectors.ndim != 2 or not vectors.size:
        raise DataError(f"{where} has the shape {vectors.shape}; vectors are a matrix, one row each")
    if not np.isfinite(vectors).all():
        bad = int((~np.isfinite(vectors)).any(axis=1).sum())
        raise DataError(f"{where} has {bad:,} rows with values that are not finite; clean them first")
    names = own
    if ids is not None:
        option = f"{side[:-1]}_ids"
        names = read_ids(ids, side, option) if isinstance(ids, str | Path) else id_strings(np.asarray(ids), option)
    if names is not None and len(names) != len(vectors):
        raise DataError(f"{where} has {len(vectors):,} rows and {len(names):,} ids; give one id per row")
    if names is not None and len(set(names)) < len(names):
        raise DataError(f"{where} repeats {len(names) - len(set(names)):,} ids; each may stand once")
    return vectors, names


def has_users(source: Any) -> bool:
    """Whether this is a model of another library, with vectors of users and of items."""
    return hasattr(source, "user_factors") or hasattr(source, "get_vectors")


def _read(source: Any, side: str) -> tuple[Any, list[str] | None]:
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if path.suffix == ".npz":
            return _archive(path, side)
        return matrix_and_ids(path, side)
    if is_frame(source):
        frame = to_polars(source, side)
        name = id_name(frame.columns, side)
        if name is None:
            known = ", ".join(ID_NAMES[side])
            raise DataError(f"the frame of {side} has no column of ids ({known}); it has {', '.join(frame.columns)}")
        advice = f"rename the one with the vectors to {VECTOR!r}"
        return matrix_of(frame.drop(name), f"the frame of {side}", advice), [str(each) for each in frame[name]]
    if isinstance(source, tuple) and len(source) == 2 and np.ndim(source[1]) == 1:
        return _array(source[0]), id_strings(np.asarray(source[1]), f"{side}: ids")
    if isinstance(source, Mapping):
        return _mapping(source, side, f"the mapping of {side}")
    if hasattr(source, f"{side[:-1]}_factors"):  # implicit
        return _array(getattr(source, f"{side[:-1]}_factors")), None
    if hasattr(source, "get_vectors"):  # RecTools: users, items
        return _array(source.get_vectors()[side == "items"]), None
    return _array(source), None


def _array(values: Any) -> Any:
    """NumPy's view of an array or tensor, also of one on a GPU."""
    if hasattr(values, "to_numpy"):  # implicit's matrices on a GPU
        return values.to_numpy()
    if hasattr(values, "detach"):
        return values.detach().float().cpu().numpy()
    return values


def _archive(path: Path, side: str) -> tuple[Any, list[str] | None]:
    if not path.is_file():
        raise DataError(f"no file of vectors at {path}")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return _mapping({name: stored[name] for name in stored.files}, side, str(path))
    except (ValueError, OSError) as error:
        raise DataError(f"cannot read vectors from {path}: {error}") from None


def _mapping(source: Mapping[Any, Any], side: str, where: str) -> tuple[Any, list[str] | None]:
    """Arrays by name, or vectors by id."""
    name = next((each for each in ARRAYS[side] if each in source and np.ndim(_array(source[each])) == 2), None)
    if name is not None:
        named = id_name([str(each) for each in source], side)
        return _array(source[name]), None if named is None else id_strings(np.asarray(source[named]), where)
    vectors = [np.asarray(_array(each)) for each in source.values()]
    widths = {row.shape for row in vectors}
    if len(widths) != 1 or vectors[0].ndim != 1:
        names = ", ".join(map(str, list(source)[:6]))
        raise DataError(
            f"{where} has no matrix ({', '.join(ARRAYS[side])}) and no vectors of one length; it has {names}"
        )
    return np.stack(vectors), [str(each) for each in source]
