"""The statements of a store that several of its methods make, within the transaction of a connection."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, Table, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from interlingua.errors import DataError, at_least_one, identifier, shown
from interlingua.store.records import digest
from interlingua.store.schema import batches, counters

Given = TypeVar("Given")
MOST_AT_ONCE = 500
"""records of one statement: databases bound the number of values in one"""


def next_number(connection: Connection, name: str, count: int) -> int:
    """Takes ``count`` numbers of a counter, and the last of them; the counter stays locked until the commit."""
    table = counters
    taken = update(table).where(table.c.name == name).values(value=table.c.value + count).returning(table.c.value)
    return int(connection.execute(taken).scalar_one())


def first_time(connection: Connection, key: str, given: list[dict[str, Any]], last: int) -> bool:
    """Whether a key is new; it is then entered. An entry without a digest is from schema 1: its batch is not known."""
    table, made = batches, digest(given)
    entry = {"key": identifier(key, "idempotency_key"), "digest": made, "number": last, "count": len(given)}
    known = connection.execute(select(table.c.digest, table.c.count).where(table.c.key == key)).one_or_none()
    if known is None:
        connection.execute(insert(table), entry)
        return True
    if known.digest not in (None, made):
        raise DataError(
            f"the idempotency key {shown(key)} came with another batch before ({known.count:,} events, now "
            f"{len(given):,}); a new batch needs a new key"
        )
    return False


def insert_all(connection: Connection, table: Table, entries: list[dict[str, Any]]) -> None:
    """Enters new lines."""
    if entries:
        connection.execute(insert(table), entries)


def upsert(
    connection: Connection, table: Table, entries: list[dict[str, Any]], columns: Collection[str] | None = None
) -> None:
    """Enters, or replaces what is there of the same key: all of it, or only ``columns``."""
    own = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    key = [column.name for column in table.primary_key]
    statement, names = own(table), [column.name for column in table.columns] if columns is None else columns
    replaced = {name: statement.excluded[name] for name in names if name not in key}
    for part in parts(entries):
        connection.execute(statement.on_conflict_do_update(index_elements=key, set_=replaced), part)


def parts(given: Iterable[Given]) -> list[list[Given]]:
    """What one statement takes at once."""
    every = list(given)
    return [every[start : start + MOST_AT_ONCE] for start in range(0, len(every), MOST_AT_ONCE)]


def limited(statement: Select[Any], limit: int | None) -> Select[Any]:
    """A statement for at most so many lines; None: all.

    Raises:
        ConfigError: a limit below 1.
    """
    if limit is None:
        return statement
    at_least_one("limit", limit)
    return statement.limit(limit)
