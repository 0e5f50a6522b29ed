"""Vector databases as addresses: ``qdrant:PATH_OR_URL``, ``postgresql://HOST/DATABASE`` (pgvector), ``lancedb:PATH``.

``#NAME`` at the end of an address names the collection or table. Passwords have no place in it: they would stand in
recipes and cards; Postgres reads ``PGPASSWORD`` or ``~/.pgpass``, Qdrant's key is read from ``QDRANT_API_KEY``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np

from interlingua.contracts.batch import FloatArray
from interlingua.errors import ConfigError, DataError, MissingExtraError, first_line, shown

KINDS = {
    "qdrant": ("qdrant_client", "interlingua.vectors.in_qdrant", "InQdrant"),
    "postgresql": ("pgvector", "interlingua.vectors.in_postgres", "InPostgres"),
    "lancedb": ("lancedb", "interlingua.vectors.in_lancedb", "InLancedb"),
}
"""kind -> package, module and class"""
TABLE = re.compile(r"[A-Za-z_][\w-]{0,50}")


class VectorStore(Protocol):
    """One database of vectors, ranked by dot products."""

    def write(
        self, table: str, ids: Sequence[str], vectors: FloatArray, payload: Sequence[Mapping[str, Any]],
        about: Mapping[str, Any],
    ) -> None:  # fmt: skip
        """Replaces a table by (n, D) vectors with ids, what is known of each, and a description of the whole."""

    def read(self, table: str) -> tuple[list[str], FloatArray]:
        """Ids and (n, D) vectors as they were written."""

    def about(self, table: str) -> dict[str, Any]:
        """The description of a table."""

    def search(self, table: str, query: FloatArray, k: int) -> list[str]:
        """Ids of the k vectors with the highest dot product with (D,) ``query``, best first."""

    def close(self) -> None:
        """Lets go of what is held open."""


@dataclass(frozen=True)
class Place:
    """Where vectors lie."""

    kind: str
    where: str
    """path or URL, as the database's own client takes it"""
    table: str
    """``""``: not named"""

    @property
    def is_remote(self) -> bool:
        """Whether reading from it speaks to a server."""
        return self.kind == "postgresql" or "://" in self.where

    def open(self) -> VectorStore:
        """Connects.

        Raises:
            MissingExtraError: its client is not installed.
            DataError: it does not answer.
        """
        package, module, name = KINDS[self.kind]
        if find_spec(package) is None:
            raise MissingExtraError(package, "vectors", f"vectors in {self.kind}")
        try:
            store: VectorStore = vars(import_module(module))[name](self.where)
        except (ConfigError, DataError):
            raise
        except Exception as error:  # three clients with errors of their own
            raise DataError(f"cannot open the vectors in {self}: {first_line(error)}") from error
        return store

    def __str__(self) -> str:
        prefix = "" if self.kind == "postgresql" else f"{self.kind}:"
        return f"{prefix}{self.where}" + (f"#{self.table}" if self.table else "")


def place_of(text: str) -> Place | None:
    """The place that an address names; None: it is the path of a file.

    Raises:
        ConfigError: a password in it, or a name that no table may have.
    """
    kind, colon, rest = text.partition(":")
    kind = {"postgres": "postgresql"}.get(kind, kind)
    if not colon or kind not in KINDS:
        return None
    where, _, table = rest.partition("#")
    where = f"{kind}:{where}" if kind == "postgresql" else where
    if not where.strip("/:"):
        raise ConfigError(f"the address {shown(text)} names no place behind {kind}:")
    if "://" in where and urlsplit(where).password:
        raise ConfigError(
            f"the address of the vectors in {kind} holds a password, which would stand in cards and recipes; leave it "
            "out: Postgres reads PGPASSWORD or ~/.pgpass, Qdrant's key is QDRANT_API_KEY"
        )
    if table:
        check_table(table)
    return Place(kind, where, table)


def check_table(name: str) -> None:
    """Raises: ConfigError: a name that one of the databases would not take."""
    if not TABLE.fullmatch(name):
        raise ConfigError(
            f"the table {shown(name)} cannot be named so: letters, digits, _ and -, at most 51, a letter first"
        )


def contents_of(place: Place) -> str | None:
    """sha256 of a table's ids and vectors, in the order of the ids; None: it cannot be read (reading it says why)."""
    try:
        vectors, ids = read_place(place)
    except (DataError, MissingExtraError):
        return None
    digest = hashlib.sha256(str(vectors.shape).encode())
    for row in np.argsort(np.array(ids)) if ids else ():
        digest.update(f"{len(ids[row])} {ids[row]}".encode())
        digest.update(vectors[row].tobytes())
    return digest.hexdigest()


def read_place(place: Place) -> tuple[FloatArray, list[str]]:
    """(n, D) vectors and their ids.

    Raises:
        ConfigError: the address names no table.
        DataError: there is no such table, or it cannot be read.
    """
    if not place.table:
        raise ConfigError(f"{place} names no table; write {place}#NAME_items (embed prints the names)")
    store = place.open()
    try:
        ids, vectors = store.read(place.table)
    except DataError:
        raise
    except Exception as error:  # as above
        raise DataError(f"cannot read the vectors in {place}: {first_line(error)}") from error
    finally:
        store.close()
    return np.ascontiguousarray(vectors, np.float32), ids
