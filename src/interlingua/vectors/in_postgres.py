"""Vectors in Postgres with pgvector: a table (id, place, embedding, payload), its description in its comment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import psycopg
from pgvector.psycopg import register_vector
from psycopg.sql import SQL, Identifier, Literal
from psycopg.types.json import Jsonb

from interlingua.contracts.batch import FloatArray
from interlingua.errors import DataError, first_line


class InPostgres:
    """A :class:`interlingua.vectors.places.VectorStore`."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.connection = psycopg.connect(where, connect_timeout=5, autocommit=True)
        try:
            self.connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except psycopg.Error as error:
            raise DataError(
                f"{where} has no extension vector ({first_line(error)}); install pgvector on the server (Debian: "
                "postgresql-NN-pgvector)"
            ) from None
        register_vector(self.connection)

    def write(
        self, table: str, ids: Sequence[str], vectors: FloatArray, payload: Sequence[Mapping[str, Any]],
        about: Mapping[str, Any],
    ) -> None:  # fmt: skip
        """See :class:`~interlingua.vectors.places.VectorStore`; readers see the old table or the new one."""
        name = Identifier(table)
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.execute(SQL("DROP TABLE IF EXISTS {}").format(name))
            columns = "id text PRIMARY KEY, place bigint NOT NULL, embedding vector({}) NOT NULL, payload jsonb"
            cursor.execute(SQL(f"CREATE TABLE {{}} ({columns})").format(name, Literal(int(vectors.shape[1]))))
            cursor.execute(SQL("COMMENT ON TABLE {} IS {}").format(name, Literal(json.dumps(dict(about)))))
            copied = SQL("COPY {} (id, place, embedding, payload) FROM STDIN WITH (FORMAT BINARY)").format(name)
            with cursor.copy(copied) as copy:
                copy.set_types(["text", "int8", "vector", "jsonb"])
                for place, (one, vector, known) in enumerate(zip(ids, vectors, payload, strict=True)):
                    copy.write_row((one, place, vector.astype(np.float32), Jsonb(dict(known))))

    def read(self, table: str) -> tuple[list[str], FloatArray]:
        """See :class:`~interlingua.vectors.places.VectorStore`."""
        self._check(table)
        request = SQL("SELECT id, embedding FROM {} ORDER BY place").format(Identifier(table))
        found = self.connection.execute(request).fetchall()
        vectors = [_array(vector) for _, vector in found]
        return [str(one) for one, _ in found], np.stack(vectors) if found else np.zeros((0, 0), np.float32)

    def about(self, table: str) -> dict[str, Any]:
        """See :class:`~interlingua.vectors.places.VectorStore`."""
        self._check(table)
        said = self.connection.execute("SELECT obj_description(to_regclass(%s))", [f'"{table}"']).fetchone()
        return dict(json.loads(said[0])) if said and said[0] else {}

    def search(self, table: str, query: FloatArray, k: int) -> list[str]:
        """See :class:`~interlingua.vectors.places.VectorStore`; exact where nobody made an index."""
        request = SQL("SELECT id FROM {} ORDER BY embedding <#> %s, place LIMIT %s").format(Identifier(table))
        return [str(one) for (one,) in self.connection.execute(request, [query.astype(np.float32), k]).fetchall()]

    def close(self) -> None:
        """See :class:`~interlingua.vectors.places.VectorStore`."""
        self.connection.close()

    def _check(self, table: str) -> None:
        if self.connection.execute("SELECT to_regclass(%s)", [f'"{table}"']).fetchone() == (None,):
            raise DataError(f"no table {table!r} in {self.where}")


def _array(vector: Any) -> FloatArray:
    """(D,) of what the driver gives: an array, or a vector of pgvector's own class (by version)."""
    return np.asarray(vector if isinstance(vector, np.ndarray) else vector.to_numpy(), np.float32)
