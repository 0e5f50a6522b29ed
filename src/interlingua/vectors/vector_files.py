"""Vectors on disk, joined to a dataset's rows by external id. No pickle is ever loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from interlingua.contracts.batch import FloatArray
from interlingua.errors import DataError, first_line, unknown
from interlingua.storage.exact_files import read_parquet
from interlingua.vectors.id_files import ID_NAMES, id_name, read_ids
from interlingua.vectors.places import place_of, read_place
from interlingua.vectors.vector_columns import VECTOR, matrix_of


def read_vectors(
    path: str | Path, ids_path: str | Path | None, tensor: str, expected_ids: npt.NDArray[Any]
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Vectors in the order of ``expected_ids``.

    Args:
        path: ``.npy``, ``.parquet`` or ``.safetensors``, or a table of a vector database (:mod:`~.places`).
        ids_path: external ids of the rows, in any form that :func:`interlingua.vectors.id_files.read_ids` reads; None:
            the file names them (parquet) or has the dataset's own row order.
        tensor: name of the tensor in a safetensors file: ``users`` or ``items``.
        expected_ids: (n,) external ids of the dataset.

    Returns:
        (n, D) vectors, zero where the file has none, and (n,) which rows it has.

    Raises:
        DataError: unreadable file, ids that do not match, repeated ids, or values that are not finite.
    """
    place = place_of(str(path))
    if place is None:
        path = Path(path)
        matrix, ids = matrix_and_ids(path, tensor)
    else:
        matrix, ids = read_place(place)
    if ids_path is not None:
        ids = read_ids(ids_path, tensor, f"backbone.{tensor[:-1]}_ids")
    if not np.isfinite(matrix).all():
        raise DataError(
            f"{path} has {int((~np.isfinite(matrix)).sum()):,} values that are not finite; clean them first"
        )
    if ids is None:
        if len(matrix) != len(expected_ids):
            raise DataError(
                f"{path} has {len(matrix):,} rows but the dataset has {len(expected_ids):,} {tensor}, and no ids were "
                f"given; name a file with one external id per row (backbone.{tensor[:-1]}_ids)"
            )
        return matrix, np.ones(len(expected_ids), bool)
    if len(ids) != len(matrix):
        raise DataError(f"{ids_path or path} names {len(ids):,} ids for the {len(matrix):,} rows of {path}")
    row_of = {name: row for row, name in enumerate(ids)}
    if len(row_of) != len(ids):
        raise DataError(f"{ids_path or path} repeats {len(ids) - len(row_of):,} ids; each may stand once")
    indices = np.array([row_of.get(str(name), -1) for name in expected_ids], np.int64)
    known = indices >= 0
    if len(expected_ids) and not known.any():
        raise DataError(
            f"none of the {len(ids):,} ids of {ids_path or path} is in the dataset "
            f"(there e.g. {ids[0]!r}, here e.g. {str(expected_ids[0])!r}); are they ids of another system?"
        )
    out = np.zeros((len(expected_ids), matrix.shape[1]), np.float32)
    out[known] = matrix[indices[known]]
    return out, known


def matrix_and_ids(path: Path, tensor: str) -> tuple[FloatArray, list[str] | None]:
    """(n, D) vectors of a file, and their ids where it has them (see :func:`read_vectors`)."""
    if not path.is_file():
        raise DataError(f"no file of vectors at {path}")
    ids: list[str] | None = None
    try:
        if path.suffix == ".npy":
            raw = np.load(path, allow_pickle=False)
        elif path.suffix == ".safetensors":
            raw = _safetensors(path, tensor)
        elif path.suffix == ".parquet":
            raw, ids = _parquet(path, tensor)
        else:
            raise DataError(f"cannot read vectors from {path}: use .npy, .parquet or .safetensors")
        matrix = np.ascontiguousarray(raw, dtype=np.float32)
    except (ValueError, OSError, TypeError) as error:
        raise DataError(f"cannot read vectors from {path}: {error}") from None
    if matrix.ndim != 2:
        raise DataError(f"{path} holds an array of shape {matrix.shape}; vectors are a matrix, one row each")
    return matrix, ids


def _safetensors(path: Path, tensor: str) -> npt.NDArray[Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = load_file(path)
    except SafetensorError as error:
        raise DataError(f"{path} is not a safetensors file: {error}") from None
    if tensor not in stored:
        raise DataError(unknown("tensor", tensor, stored, str(path)))
    return stored[tensor].float().numpy()


def _parquet(path: Path, side: str) -> tuple[npt.NDArray[Any], list[str]]:
    import polars as pl

    try:
        frame = read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} is not a parquet file: {first_line(error)}") from None
    name = id_name(frame.columns, side)
    if name is None:
        names = ", ".join(ID_NAMES[side])
        raise DataError(f"{path} has no column of ids ({names}); its columns: {', '.join(frame.columns)}")
    values = matrix_of(frame.drop(name), str(path), f"rename the one with the vectors to {VECTOR!r}")
    return values, frame[name].cast(pl.String).to_list()
