"""A store as the first draft of the room laid it out: to see it brought up to date."""

from __future__ import annotations

import json

from sqlalchemy import text

from interlingua.store.connect import engine_of, transaction

TABLES = (
    "CREATE TABLE meta (name VARCHAR(100) NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE items (item_id VARCHAR(500) NOT NULL PRIMARY KEY, title TEXT, description TEXT, categories TEXT, "
    "attributes {json} NOT NULL, available BOOLEAN NOT NULL)",
    "CREATE TABLE batches (key VARCHAR(500) NOT NULL PRIMARY KEY, number {long} NOT NULL, count {long} NOT NULL)",
    "CREATE TABLE events (number {long} NOT NULL PRIMARY KEY, user_id VARCHAR(500) NOT NULL, "
    "item_id VARCHAR(500) NOT NULL, time {double} NOT NULL, value {double})",
    "CREATE INDEX events_by_user ON events (user_id, number)",
)


def make(place: str) -> None:
    """Two items, three events of two batches."""
    engine = engine_of(place, 5.0)
    postgres = engine.dialect.name == "postgresql"
    long, double, as_json = ("BIGINT", "DOUBLE PRECISION", "JSONB") if postgres else ("INTEGER", "DOUBLE", "JSON")
    with transaction(engine, 5.0, writes=True) as connection:
        for line in TABLES:
            connection.execute(text(line.format(long=long, double=double, json=as_json)))
        connection.execute(text("INSERT INTO meta VALUES ('schema', '1')"))
        for name, price in (("i2", 3.5), ("i1", 20)):
            connection.execute(
                text("INSERT INTO items VALUES (:id, 'A title', NULL, 'Drama', :attributes, TRUE)"),
                {"id": name, "attributes": json.dumps({"price": price})},
            )
        connection.execute(text("INSERT INTO batches VALUES ('first', 2, 2), ('second', 3, 1)"))
        connection.execute(text("INSERT INTO events VALUES (1, 'u1', 'i1', 10.5, NULL), (2, 'u1', 'i2', 11, 4)"))
        connection.execute(text("INSERT INTO events VALUES (3, 'u2', 'i1', 12, NULL)"))
    engine.dispose()
