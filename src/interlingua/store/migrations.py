"""From an older layout to the present one: one function per step, in the same transaction as the new number.

A step names columns as they were then, in SQL that SQLite and Postgres both read; it never uses
:mod:`interlingua.store.schema`, which goes on changing.
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, inspect, select, text, update

from interlingua.errors import StoreError
from interlingua.store.schema import SCHEMA, meta, tables


def bring_up(connection: Connection, place: str, absent: str | None = None) -> None:
    """Makes the tables of an empty database, or brings older ones up to date.

    Args:
        connection: in a transaction that writes.
        place: of the database, for errors.
        absent: what to do where there are no tables, in words; None: they are made.

    Raises:
        StoreError: the layout is of a later Interlingua, the tables are not ours, or there are none.
    """
    if connection.dialect.name == "postgresql":  # two processes that open an empty database at once
        connection.execute(text("SELECT pg_advisory_xact_lock(7221904411)"))
    names = set(inspect(connection).get_table_names())
    if "meta" not in names and absent is not None:
        raise StoreError(f"{place} holds no store; {absent}")
    if "meta" not in names:
        clash = sorted(names & set(tables.tables))
        if clash:
            raise StoreError(
                f"{place} has tables that Interlingua did not make ({', '.join(clash)}); give a database of its own"
            )
        tables.create_all(connection)
        connection.execute(insert(meta).values(name="schema", value=str(SCHEMA)))
        _count(connection, "items", "events", "promotions", "requests", "forgotten")
        return
    found = connection.execute(select(meta.c.value).where(meta.c.name == "schema")).scalar()
    if found is None or not str(found).isdigit():
        raise StoreError(f"{place} has a table meta without a number of its schema (got {found!r}): it is not ours")
    version = int(found)
    if version > SCHEMA:
        raise StoreError(
            f"{place} has schema {version}, this Interlingua reads up to {SCHEMA}; install the later one that wrote it"
        )
    for step in range(version, SCHEMA):
        STEPS[step](connection)
    if version < SCHEMA:
        connection.execute(update(meta).where(meta.c.name == "schema").values(value=str(SCHEMA)))


def _count(connection: Connection, *names: str) -> None:
    for name in names:
        connection.execute(text("INSERT INTO counters (name, value) VALUES (:name, 0)"), {"name": name})


def _to_2(connection: Connection) -> None:
    """Numbers by commit, deleted items that are remembered, digests of batches; users, models and requests."""
    postgres = connection.dialect.name == "postgresql"
    long, double, json = ("BIGINT", "DOUBLE PRECISION", "JSONB") if postgres else ("INTEGER", "DOUBLE", "JSON")
    one = f"number {long} NOT NULL PRIMARY KEY"
    for line in (
        f"CREATE TABLE counters (name VARCHAR(100) NOT NULL PRIMARY KEY, value {long} NOT NULL)",
        "INSERT INTO counters SELECT 'items', COUNT(*) FROM items",
        "INSERT INTO counters SELECT 'events', COALESCE(MAX(number), 0) FROM events",
        "ALTER TABLE items ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT FALSE",
        f"ALTER TABLE items ADD COLUMN revision {long} NOT NULL DEFAULT 0",
        "UPDATE items SET revision = (SELECT COUNT(*) FROM items AS o WHERE o.item_id <= items.item_id)",
        "CREATE INDEX items_by_revision ON items (revision)",
        "ALTER TABLE batches ADD COLUMN digest VARCHAR(64)",
        f"CREATE TABLE users (user_id VARCHAR(500) NOT NULL PRIMARY KEY, attributes {json} NOT NULL)",
        f"CREATE TABLE models (version VARCHAR(500) NOT NULL PRIMARY KEY, path TEXT NOT NULL, metrics {json} NOT NULL, "
        f"note TEXT NOT NULL, made {double} NOT NULL, events {long} NOT NULL)",
        f"CREATE TABLE promotions ({one}, version VARCHAR(500) NOT NULL, time {double} NOT NULL)",
        f"CREATE TABLE requests ({one}, version VARCHAR(500) NOT NULL, user_id VARCHAR(500), request {json} NOT NULL, "
        f"items {json} NOT NULL, latency_ms {double} NOT NULL, time {double} NOT NULL)",
    ):
        connection.execute(text(line))
    _count(connection, "promotions", "requests")


def _to_3(connection: Connection) -> None:
    """How many users were forgotten: who follows the store forgets them too."""
    _count(connection, "forgotten")


def _to_4(connection: Connection) -> None:
    """Rollbacks are told from promotions; those of before count as promotions, so that each can be taken back."""
    long = "BIGINT" if connection.dialect.name == "postgresql" else "INTEGER"
    connection.execute(text(f"ALTER TABLE promotions ADD COLUMN back {long}"))


def _to_5(connection: Connection) -> None:
    """Items that were deleted and added again are told from those that only have changes."""
    connection.execute(text("ALTER TABLE items ADD COLUMN whole BOOLEAN NOT NULL DEFAULT FALSE"))


STEPS = {1: _to_2, 2: _to_3, 3: _to_4, 4: _to_5}
"""schema -> what makes the next one of it"""
