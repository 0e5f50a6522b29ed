"""Text vectors that the user brings: npy, npz, parquet or safetensors, joined to the items by id; never a pickle."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file
from torch import Tensor

from interlingua.contracts.batch import FloatArray, Side
from interlingua.errors import ConfigError, DataError, unknown
from interlingua.progress import say
from interlingua.storage.exact_files import read_parquet
from interlingua.vectors.fields import TextConfig
from interlingua.vectors.frozen import FrozenRows
from interlingua.vectors.id_files import ID_NAMES, id_name, id_strings, read_ids
from interlingua.vectors.vector_columns import VECTOR, arrays_like_ids, like_ids, matrix_of

SUFFIXES = (".npy", ".npz", ".parquet", ".safetensors")
ITEM_ID = "item_id"


REFUSAL = (
    "the text source 'npy' has vectors of known items only, and cannot encode {what}; use text.name = 'sbert' or 'lsa'"
)


class NpyConfig(TextConfig):
    """Options of the text source ``npy``. The item texts themselves are not read."""

    files = ("path", "ids", "user_path")

    path: str
    """``.npy`` (n, T); ``.npz`` or ``.safetensors`` with an array ``vectors`` (and one of ids); ``.parquet``"""
    ids: str | None = None
    """file with the item ids of the rows: text (one a line), a JSON list, a JSON object id -> row, ``.npy``, or
    ``.parquet`` (also ``ids.parquet`` of ``interlingua embed``); None: see ``path``"""
    id_column: str = ITEM_ID
    """the column or array of item ids; where ``item_id`` is absent: ``itemid``, ``item_ids``, ``id`` or ``ids``"""
    vector_column: str = VECTOR
    """parquet: a list column; where ``vector`` is absent the only one; without any, every numeric column but the id is
    one dimension"""
    user_path: str | None = None
    """vectors of users in the same formats, with their ids in the file; read where ``users = "texts"``"""
    missing: Literal["error", "mean", "zero"] = "error"
    """items without a vector: stop, or give them the mean vector, or zeros (either is counted and shown)"""
    normalise: bool = False
    """scale every vector to unit length"""

    @property
    def reads_fields(self) -> bool:
        """False: the vectors come from a file."""
        return False

    @property
    def brings_users(self) -> bool:
        """See :class:`TextConfig`."""
        return self.user_path is not None


class Npy(FrozenRows):
    """Brought vectors in the row order of the items; see :class:`interlingua.contracts.text.Text`."""

    kind = "text"
    Config = NpyConfig
    reads_words = False

    def __init__(
        self,
        config: NpyConfig,
        texts: Sequence[str],
        *,
        item_ids: Sequence[str] | None = None,
        user_texts: Sequence[str] | None = None,
        user_ids: Sequence[str] | None = None,
        cache: Path | None = None,
    ) -> None:
        """Reads and joins.

        Args:
            config: options.
            texts: (I,) item texts; only their number is used.
            item_ids: (I,) external ids in row order; needed where the file has ids.
            user_texts: unused: brought vectors of users come from ``user_path``.
            user_ids: (U,) external ids in row order, for ``user_path``.
            cache: unused.

        Raises:
            DataError: the file cannot be read, or its rows do not fit the items.
        """
        users = None
        if config.user_path is not None and user_ids is not None:
            theirs = config.model_copy(update={"path": config.user_path, "ids": None})
            users = _joined(theirs, user_ids, len(user_ids), "users")
        super().__init__(_joined(config, item_ids, len(texts), "items"), users)
        self.config = config

    @classmethod
    def of_stage(cls, config: Any, folder: Path) -> Any:
        """Brought vectors cannot read a new text.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(REFUSAL.format(what="new texts"))

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Brought vectors cannot encode a new text.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(REFUSAL.format(what=f"{len(texts)} new texts"))


def _joined(config: NpyConfig, ids: Sequence[str] | None, count: int, side: Side) -> FloatArray:
    """(count, T) vectors in the order of the ids."""
    vectors, own = read_vectors(config, side)
    joined = join(vectors, own, ids, count, config)
    if not config.normalise:
        return joined
    lengths = np.linalg.norm(joined, axis=1, keepdims=True)
    return (joined / np.where(lengths > 1e-12, lengths, 1.0)).astype(np.float32)


def read_vectors(config: NpyConfig, side: Side) -> tuple[FloatArray, list[str] | None]:
    """(n, T) vectors of ``config.path``, and the n ids of ``side`` that stand with them, if any."""
    path = Path(config.path).expanduser()
    if not path.is_file():
        raise DataError(f"text.path: there is no file {path}")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"text.path: {path.name} is none of {', '.join(SUFFIXES)} (pickles are never read)")
    ids: list[str] | None = None
    try:
        if suffix == ".parquet":
            vectors, ids = _from_parquet(path, config, side)
        elif suffix == ".safetensors":
            vectors, ids = _from_archive(dict(load_file(path)), path, config, side)
        elif suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                vectors, ids = _from_archive({name: archive[name] for name in archive.files}, path, config, side)
        else:
            vectors = np.load(path, allow_pickle=False)
        vectors = np.asarray(vectors, np.float32)
    except (DataError, ConfigError):
        raise
    except Exception as error:  # each format's library raises its own types for a damaged file
        raise DataError(f"text.path: {path} cannot be read as {suffix}: {error}") from None
    if config.ids is not None:
        ids = read_ids(config.ids, side, "text.ids")
    if vectors.ndim != 2:
        raise DataError(
            f"text.path: {path} holds an array of shape {vectors.shape}; a table (items, dimensions) is needed"
        )
    if ids is not None and len(ids) != len(vectors):
        raise DataError(f"{len(ids)} ids for {len(vectors)} vectors in {path}: they must be equally many")
    return vectors, ids


def join(
    vectors: FloatArray, ids: list[str] | None, item_ids: Sequence[str] | None, num_items: int, config: NpyConfig
) -> FloatArray:
    """(I, T) vectors in row order; coverage is told, missing rows are treated as ``config.missing`` says."""
    if ids is None:
        if len(vectors) != num_items:
            raise DataError(
                f"{config.path} has {len(vectors)} rows and no ids, but there are {num_items} items; give text.ids, "
                "a file with one item id per row"
            )
        say(f"{config.path}: no ids, so row r is taken as the vector of item row r")
        return vectors
    if item_ids is None:
        raise DataError("vectors with ids can only be joined where the items' ids are given (item_ids)")
    where = {item: row for row, item in enumerate(ids)}
    if len(where) < len(ids):
        raise DataError(
            f"{config.path}: {len(ids) - len(where)} item ids stand more than once; keep one vector of each"
        )
    source = np.array([where.get(str(item), -1) for item in item_ids], np.int64)
    found = int((source >= 0).sum())
    say(f"{config.path}: vectors for {found} of {num_items} items ({len(ids) - found} vectors of other items unused)")
    out = vectors[np.maximum(source, 0)].astype(np.float32)
    if found == num_items:
        return out
    gaps = [str(item_ids[row]) for row in np.flatnonzero(source < 0)[:3]]
    if config.missing == "error" or found == 0:
        raise DataError(
            f"{num_items - found} of {num_items} items have no vector in {config.path} (e.g. {', '.join(gaps)}); "
            "add them, or set text.missing to 'mean' or 'zero'"
        )
    say(f"{num_items - found} items without a vector get {'zeros' if config.missing == 'zero' else 'the mean vector'}")
    out[source < 0] = 0 if config.missing == "zero" else out[source >= 0].mean(axis=0)
    return out


def _from_archive(
    arrays: dict[str, npt.NDArray[Any]], path: Path, config: NpyConfig, side: Side
) -> tuple[npt.NDArray[Any], list[str] | None]:
    name = _id_name(arrays, path, config, side)
    ids = None if name is None else id_strings(arrays.pop(name), f"{path}: the array {name!r}")
    vectors = _named({name: values for name, values in arrays.items() if values.dtype.kind not in "SU"}, path, side)
    if ids is None:
        rest = {name: values for name, values in arrays.items() if values is not vectors}
        _refuse_order(arrays_like_ids(rest, len(vectors)), path, config, side)
    return vectors, ids


def _named(arrays: dict[str, npt.NDArray[Any]], path: Path, side: Side) -> npt.NDArray[Any]:
    for name in ("vectors", side):
        if name in arrays:
            return arrays[name]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    raise DataError(f"{path} holds the arrays of numbers {sorted(arrays)}: name one of them 'vectors'")


def _from_parquet(path: Path, config: NpyConfig, side: Side) -> tuple[npt.NDArray[Any], list[str] | None]:
    frame = read_parquet(path)
    name = _id_name(frame.columns, path, config, side)
    ids = None
    if name is not None:
        ids = [str(i) for i in frame[name].to_list()]
        frame = frame.drop(name)
    if config.vector_column not in (VECTOR, *frame.columns):
        raise ConfigError(unknown("column", config.vector_column, frame.columns, f"text.vector_column for {path}"))
    if ids is None:
        _refuse_order(like_ids(frame), path, config, side)
    return matrix_of(frame, str(path), "name the vectors' with text.vector_column", config.vector_column), ids


def _id_name(names: Collection[str], path: Path, config: NpyConfig, side: Side) -> str | None:
    """The column or array with the ids: the one that was asked for, or one under a known name."""
    if side == "items" and config.id_column in names:
        return config.id_column
    if side == "items" and config.id_column != ITEM_ID:
        raise ConfigError(unknown("column", config.id_column, names, f"text.id_column for {path}"))
    return id_name(names, side)


def _refuse_order(strange: list[str], path: Path, config: NpyConfig, side: Side) -> None:
    """Raises where rows would be taken in the items' order although the file seems to say whose they are."""
    if config.ids is not None or not strange:
        return
    how = "set text.id_column to the one that holds" if side == "items" else "rename to 'user_id' the one that holds"
    raise DataError(
        f"{path} has no ids under a known name ({', '.join(ID_NAMES[side])}), but {', '.join(map(repr, strange))} may "
        f"be ids of {side}: {how} them; or leave them out of the file, if its row r is row r of the {side}"
    )
