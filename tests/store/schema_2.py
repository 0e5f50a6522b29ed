"""A store as the second layout had it: to see it brought up to date."""

from __future__ import annotations

from sqlalchemy import text

from interlingua.store.connect import engine_of, transaction

TABLES = (
    "CREATE TABLE meta (name VARCHAR(100) NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE counters (name VARCHAR(100) NOT NULL PRIMARY KEY, value {long} NOT NULL)",
    "CREATE TABLE items (item_id VARCHAR(500) NOT NULL PRIMARY KEY, title TEXT, description TEXT, categories TEXT, "
    "attributes {json} NOT NULL, available BOOLEAN NOT NULL, deleted BOOLEAN NOT NULL, revision {long} NOT NULL)",
    "CREATE INDEX items_by_revision ON items (revision)",
    "CREATE TABLE users (user_id VARCHAR(500) NOT NULL PRIMARY KEY, attributes {json} NOT NULL)",
    "CREATE TABLE batches (key VARCHAR(500) NOT NULL PRIMARY KEY, digest VARCHAR(64), number {long} NOT NULL, "
    "count {long} NOT NULL)",
    "CREATE TABLE events (number {long} NOT NULL PRIMARY KEY, user_id VARCHAR(500) NOT NULL, "
    "item_id VARCHAR(500) NOT NULL, time {double} NOT NULL, value {double})",
    "CREATE INDEX events_by_user ON events (user_id, number)",
    "CREATE TABLE models (version VARCHAR(500) NOT NULL PRIMARY KEY, path TEXT NOT NULL, metrics {json} NOT NULL, "
    "note TEXT NOT NULL, made {double} NOT NULL, events {long} NOT NULL)",
    "CREATE TABLE promotions (number {long} NOT NULL PRIMARY KEY, version VARCHAR(500) NOT NULL, "
    "time {double} NOT NULL)",
    "CREATE TABLE requests (number {long} NOT NULL PRIMARY KEY, version VARCHAR(500) NOT NULL, "
    "user_id VARCHAR(500), request {json} NOT NULL, items {json} NOT NULL, latency_ms {double} NOT NULL, "
    "time {double} NOT NULL)",
)
ROWS = (
    "INSERT INTO meta VALUES ('schema', '2')",
    "INSERT INTO counters VALUES ('items', 5), ('events', 3), ('promotions', 1), ('requests', 1)",
    "INSERT INTO items VALUES ('i1', 'A title', NULL, 'Drama', '{}', TRUE, FALSE, 4), "
    "('i2', NULL, NULL, NULL, '{}', FALSE, TRUE, 5)",
    "INSERT INTO users VALUES ('u1', '{}')",
    "INSERT INTO events VALUES (2, 'u1', 'i1', 10.5, NULL), (3, 'u2', 'i1', 12, 4)",
    "INSERT INTO models VALUES ('v1', '/runs/a', '{}', '', 1, 3)",
    "INSERT INTO promotions VALUES (1, 'v1', 2)",
    "INSERT INTO requests VALUES (1, 'v1', 'u1', '{}', '[]', 1.5, 3)",
)


def make(place: str) -> None:
    """An item, a deleted one, two events (one is gone), a version that is served, a request."""
    engine = engine_of(place, 5.0)
    postgres = engine.dialect.name == "postgresql"
    long, double, as_json = ("BIGINT", "DOUBLE PRECISION", "JSONB") if postgres else ("INTEGER", "DOUBLE", "JSON")
    with transaction(engine, 5.0, writes=True) as connection:
        for line in TABLES:
            connection.execute(text(line.format(long=long, double=double, json=as_json)))
        for line in ROWS:
            connection.execute(text(line))
    engine.dispose()
