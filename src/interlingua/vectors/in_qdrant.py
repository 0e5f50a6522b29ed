"""Vectors in Qdrant: a server, or a folder (Qdrant's local mode, which searches exactly)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from interlingua.contracts.batch import FloatArray
from interlingua.errors import DataError

ID = "id"
"""entry of the payload with the external id: Qdrant's own ids are numbers"""
PART = 512
"""points of one call"""


class InQdrant:
    """A :class:`interlingua.vectors.places.VectorStore`."""

    def __init__(self, where: str) -> None:
        key = os.environ.get("QDRANT_API_KEY")
        self.client = QdrantClient(url=where, api_key=key) if "://" in where else QdrantClient(path=where)
        self.where = where

    def write(
        self, table: str, ids: Sequence[str], vectors: FloatArray, payload: Sequence[Mapping[str, Any]],
        about: Mapping[str, Any],
    ) -> None:  # fmt: skip
        """See :class:`~interlingua.vectors.places.VectorStore`; the description is the collection's metadata."""
        if self.client.collection_exists(table):
            self.client.delete_collection(table)
        how = models.VectorParams(size=vectors.shape[1], distance=models.Distance.DOT)
        self.client.create_collection(table, vectors_config=how, metadata=dict(about))
        for start in range(0, len(ids), PART):
            rest = zip(ids[start : start + PART], vectors[start : start + PART], payload[start:], strict=False)
            points = [
                models.PointStruct(id=start + place, vector=vector.tolist(), payload={**known, ID: name})
                for place, (name, vector, known) in enumerate(rest)
            ]
            self.client.upsert(table, points, wait=True)

    def read(self, table: str) -> tuple[list[str], FloatArray]:
        """See :class:`~interlingua.vectors.places.VectorStore`."""
        self._check(table)
        ids, vectors, offset = list[str](), [], None
        while True:
            found, offset = self.client.scroll(table, limit=PART, offset=offset, with_payload=[ID], with_vectors=True)
            ids += [str((point.payload or {}).get(ID, point.id)) for point in found]
            vectors += [np.asarray(point.vector, np.float32) for point in found]
            if offset is None:
                break
        return ids, np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)

    def about(self, table: str) -> dict[str, Any]:
        """See :class:`~interlingua.vectors.places.VectorStore`."""
        self._check(table)
        return dict(self.client.get_collection(table).config.metadata or {})

    def search(self, table: str, query: FloatArray, k: int) -> list[str]:
        """See :class:`~interlingua.vectors.places.VectorStore`."""
        found = self.client.query_points(table, query=query.tolist(), limit=k, with_payload=[ID])
        return [str((point.payload or {})[ID]) for point in found.points]

    def close(self) -> None:
        """See :class:`~interlingua.vectors.places.VectorStore`; a folder can then be opened again."""
        self.client.close()

    def _check(self, table: str) -> None:
        if not self.client.collection_exists(table):
            names = sorted(each.name for each in self.client.get_collections().collections)
            raise DataError(f"no collection {table!r} in qdrant:{self.where}; it has: {', '.join(names) or 'none'}")
