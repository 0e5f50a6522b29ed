"""Tables and archives of vectors from outside: which part is the vectors, and what may be ids under an unknown name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from interlingua.errors import DataError
from interlingua.vectors.id_files import ID_NAMES

VECTOR = "vector"
KNOWN = {name for names in ID_NAMES.values() for name in names}


def list_columns(frame: pl.DataFrame) -> list[str]:
    """Columns that hold a list or array of numbers in each row."""
    kinds = {name: kind for name, kind in frame.schema.items() if isinstance(kind, pl.List | pl.Array)}
    return [name for name, kind in kinds.items() if kind.inner.is_numeric()]


def matrix_of(frame: pl.DataFrame, where: str, advice: str, column: str = VECTOR) -> npt.NDArray[Any]:
    """The vectors of a table without its column of ids.

    Args:
        frame: (n) rows with the column ``column``, or one list column, or else one numeric column per dimension;
            integers under the name of an id (``id`` beside ``item_id``) are no dimension.
        where: the file, for errors.
        advice: how to name the column among several, for errors.
        column: the name that settles it.

    Returns:
        (n, T) vectors.

    Raises:
        DataError: no such columns, several lists, or lists of different lengths.
    """
    lists = list_columns(frame)
    if column in frame.columns:
        lists = [column]
    elif len(lists) == 1 and not _floats(frame.schema[lists[0]]) and any(k.is_float() for k in frame.schema.values()):
        raise DataError(
            f"{where} has a column of lists of whole numbers ({lists[0]!r}) and columns of numbers beside it; "
            f"{advice}, or drop what holds no vectors"
        )
    if len(lists) > 1:
        raise DataError(
            f"{where} has {len(lists)} columns of lists ({', '.join(lists)}), and none {column!r}; {advice}"
        )
    if lists:
        vectors = frame[lists[0]]
        widths = vectors.list.len().unique().to_list() if isinstance(vectors.dtype, pl.List) else []
        if len(widths) > 1:
            raise DataError(f"{where}: the vectors in column {lists[0]!r} have different lengths: {widths}")
        return np.array(vectors.to_list(), np.float32)
    kinds = {name: kind for name, kind in frame.schema.items() if kind.is_numeric()}
    numeric = [name for name, kind in kinds.items() if not (kind.is_integer() and name.lower() in KNOWN)]
    if not numeric:
        raise DataError(f"{where} has no column {column!r} and no numeric column; it has: {', '.join(frame.columns)}")
    return frame.select(numeric).to_numpy().astype(np.float32)


def _floats(kind: pl.DataType) -> bool:
    return bool(getattr(kind, "inner", kind).is_float())


def like_ids(frame: pl.DataFrame) -> list[str]:
    """Columns that may be ids under another name: texts, and integers, each once, beside vectors of something else."""
    other = bool(list_columns(frame)) or any(kind.is_float() for kind in frame.schema.values())
    texts = (pl.String, pl.Categorical, pl.Enum, pl.Binary)
    return [
        name
        for name, kind in frame.schema.items()
        if isinstance(kind, texts) or (other and kind.is_integer() and frame[name].n_unique() == frame.height)
    ]


def arrays_like_ids(arrays: Mapping[str, npt.NDArray[Any]], count: int) -> list[str]:
    """Arrays of an archive that may be ids of ``count`` vectors: texts, and integers, each once."""
    return [
        name
        for name, values in arrays.items()
        if values.shape == (count,)
        and (values.dtype.kind in "SU" or (values.dtype.kind in "iu" and len(np.unique(values)) == count))
    ]
