"""Opening a database, one way for SQLite and Postgres: durable commits, waiting for each other, errors in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from interlingua.errors import MissingExtraError, StoreError, first_line

WRITES = "writes"
"""option of a connection: its transaction takes the write lock at once, so that it never has to give up half way"""


def engine_of(place: Path | str, wait_s: float) -> Engine:
    """The engine for a file (made if it is not there) or for ``postgresql://user:password@host/database``.

    Raises:
        StoreError: a URL of another kind, or one that cannot be read.
        MissingExtraError: Postgres without its driver.
    """
    url = url_of(place)
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, wait_s)
    if find_spec("psycopg") is None:
        raise MissingExtraError("psycopg", "store", "a store in Postgres")
    engine = create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": max(2, round(wait_s))})

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(wait_s * 1000)}")
        connection.exec_driver_sql("SET LOCAL synchronous_commit = on")  # what is acknowledged is on the disk

    return engine


def url_of(place: Path | str) -> URL:
    """A path as the URL of its file, or a URL of Postgres with the driver that is used here.

    Raises:
        StoreError: neither.
    """
    text = str(place)
    if isinstance(place, Path) or "://" not in text:
        return URL.create("sqlite", database=str(Path(text).expanduser().absolute()))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # a port that is no number
        raise StoreError("the store's URL cannot be read; write postgresql://user:password@host/database") from None
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername == "sqlite" and url.database not in (None, "", ":memory:"):
        return url
    raise StoreError(
        f"the store {url.render_as_string()} is of a kind that is not known; give the path of a file (SQLite), or "
        "postgresql://user:password@host/database"
    )


def _sqlite(url: URL, wait_s: float) -> Engine:
    engine = create_engine(url, connect_args={"timeout": wait_s})

    @event.listens_for(engine, "connect")
    def connect(raw: Any, _: Any) -> None:
        raw.isolation_level = None  # transactions begin where we say so, below
        raw.execute("PRAGMA journal_mode = WAL")  # readers and one writer do not wait for each other
        raw.execute("PRAGMA synchronous = FULL")  # what is acknowledged is on the disk

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def transaction(engine: Engine, wait_s: float, *, writes: bool) -> Iterator[Connection]:
    """One transaction; when the block ends without an error, what it wrote is durable.

    Raises:
        StoreError: locked, unreachable, damaged, read-only, full.
    """
    place = engine.url.render_as_string()  # without the password
    try:
        with engine.connect() as fresh, fresh.execution_options(**{WRITES: writes}) as connection, connection.begin():
            yield connection
    except DBAPIError as error:
        raise StoreError(_said(place, error, wait_s)) from error
    except SQLAlchemyError as error:
        raise StoreError(f"the store {place}: {first_line(error)}") from error


def _said(place: str, error: DBAPIError, wait_s: float) -> str:
    """The database's reason, and what to do."""
    said, cause = first_line(error.orig or error), error.orig
    code = cause.sqlite_errorname if isinstance(cause, sqlite3.Error) and hasattr(cause, "sqlite_errorname") else ""
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or "lock timeout" in said:
        return f"the store {place} was locked by another process for {wait_s:g} s; try again, or raise wait_s"
    remedies = {
        "SQLITE_CANTOPEN": "give a file in a folder that is there and that can be written",
        "SQLITE_NOTADB": "it is no SQLite file: give another path, or move it away",
        "SQLITE_CORRUPT": "the file is damaged: put a copy back",
        "SQLITE_READONLY": "file and folder must be writable",
        "SQLITE_FULL": "the disk is full",
    }
    known = next((remedy for start, remedy in remedies.items() if code.startswith(start)), "")
    if (not known and error.connection_invalidated) or (not place.startswith("sqlite") and "connect" in said):
        known = "is the server up, and are host, user and database right?"
    return f"the store {place}: {said}" + (f"; {known}" if known else "")
