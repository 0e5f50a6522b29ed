"""Vectors in LanceDB: a folder of tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

from interlingua.contracts.batch import FloatArray
from interlingua.errors import DataError

ABOUT = b"interlingua"
"""entry of a table's metadata with its description"""


class InLancedb:
    """A :class:`interlingua.vectors.places.VectorStore`."""

    def __init__(self, where: str) -> None:
        self.database, self.where = lancedb.connect(where), where

    def write(
        self, table: str, ids: Sequence[str], vectors: FloatArray, payload: Sequence[Mapping[str, Any]],
        about: Mapping[str, Any],
    ) -> None:  # fmt: skip
        """See :class:`~interlingua.vectors.places.VectorStore`; what is known of an item stands in columns."""
        flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
        made = pa.table({"id": list(ids), "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])})
        names = dict.fromkeys(name for known in payload for name in known if name not in ("id", "vector"))
        for name in names:
            made = made.append_column(name, pa.array([known.get(name) for known in payload]))
        described = made.replace_schema_metadata({ABOUT: json.dumps(dict(about)).encode()})
        self.database.create_table(table, described, mode="overwrite")

    def read(self, table: str) -> tuple[list[str], FloatArray]:
        """See :class:`~interlingua.vectors.places.VectorStore`."""
        found = self._table(table).to_arrow()
        vectors = found["vector"].combine_chunks()
        width = vectors.type.list_size
        flat = np.asarray(vectors.flatten().to_numpy(zero_copy_only=False), np.float32)
        return found["id"].to_pylist(), flat.reshape(-1, width)

    def about(self, table: str) -> dict[str, Any]:
        """See :class:`~interlingua.vectors.places.VectorStore`."""
        found = (self._table(table).schema.metadata or {}).get(ABOUT, b"{}")
        return dict(json.loads(found))

    def search(self, table: str, query: FloatArray, k: int) -> list[str]:
        """See :class:`~interlingua.vectors.places.VectorStore`."""
        request = self._table(table).search(query.astype(np.float32), vector_column_name="vector").distance_type("dot")
        return [str(each["id"]) for each in request.select(["id", "_distance"]).limit(k).to_list()]

    def close(self) -> None:
        """See :class:`~interlingua.vectors.places.VectorStore`; nothing is held open."""

    def _table(self, table: str) -> Any:
        try:
            return self.database.open_table(table)
        except (FileNotFoundError, ValueError) as error:
            raise DataError(f"no table {table!r} in lancedb:{self.where} ({error})") from None
