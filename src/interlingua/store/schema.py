"""The tables, as they are now; how older ones become these is in :mod:`interlingua.store.migrations`.

Everything that changes takes its number from a row of ``counters``, which a writer locks until its commit: numbers
come in the order of commits, so whoever reads "after number n" misses nothing.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA = 5
"""number of this layout"""

_long = BigInteger().with_variant(Integer, "sqlite")
_json = JSON().with_variant(JSONB(), "postgresql")
_id = String(500)

tables = MetaData()

meta = Table("meta", tables, Column("name", String(100), primary_key=True), Column("value", Text, nullable=False))

counters = Table(
    "counters", tables, Column("name", String(100), primary_key=True), Column("value", _long, nullable=False)
)  # fmt: skip

items = Table(
    "items", tables,
    Column("item_id", _id, primary_key=True),
    Column("title", Text),
    Column("description", Text),
    Column("categories", Text),
    Column("attributes", _json, nullable=False),
    Column("available", Boolean, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("whole", Boolean, nullable=False, default=False),  # added again: nothing of before counts
    Column("revision", _long, nullable=False),
    Index("items_by_revision", "revision"),
)  # fmt: skip

users = Table("users", tables, Column("user_id", _id, primary_key=True), Column("attributes", _json, nullable=False))

batches = Table(
    "batches", tables,
    Column("key", _id, primary_key=True),
    Column("digest", String(64)),  # empty: from schema 1, which did not keep it
    Column("number", _long, nullable=False),  # of its last event
    Column("count", _long, nullable=False),
)  # fmt: skip

events = Table(
    "events", tables,
    Column("number", _long, primary_key=True, autoincrement=False),
    Column("user_id", _id, nullable=False),
    Column("item_id", _id, nullable=False),
    Column("time", Double, nullable=False),
    Column("value", Double),
    Index("events_by_user", "user_id", "number"),
)  # fmt: skip

models = Table(
    "models", tables,
    Column("version", _id, primary_key=True),
    Column("path", Text, nullable=False),
    Column("metrics", _json, nullable=False),
    Column("note", Text, nullable=False),
    Column("made", Double, nullable=False),
    Column("events", _long, nullable=False),
)  # fmt: skip

promotions = Table(
    "promotions", tables,
    Column("number", _long, primary_key=True, autoincrement=False),
    Column("version", _id, nullable=False),
    Column("time", Double, nullable=False),
    Column("back", _long),  # number of the promotion that a rollback went back to; empty: a promotion
)  # fmt: skip

requests = Table(
    "requests", tables,
    Column("number", _long, primary_key=True, autoincrement=False),
    Column("version", _id, nullable=False),
    Column("user_id", _id),
    Column("request", _json, nullable=False),
    Column("items", _json, nullable=False),
    Column("latency_ms", Double, nullable=False),
    Column("time", Double, nullable=False),
)  # fmt: skip
