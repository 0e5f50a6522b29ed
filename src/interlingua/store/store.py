"""The store: one class over one database. Every method that writes returns when what it wrote is durable."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Engine, Select, Table, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

import interlingua.store.schema as schema
from interlingua.errors import DataError, at_least_one, identifier, shown
from interlingua.store.connect import engine_of, transaction
from interlingua.store.migrations import bring_up
from interlingua.store.records import Event, Item, Logged, ModelVersion, Promotion, User, checked, digest

Given = TypeVar("Given")
MOST_AT_ONCE = 500
"""records of one statement: databases bound the number of values in one"""


class Store:
    """Items, events, users, versions of models and requests of one service.

    Several processes may have it open. Ids are texts, in the order of the newest change or of arrival.
    """

    def __init__(self, engine: Engine, wait_s: float) -> None:
        self._engine, self._wait_s = engine, wait_s

    @classmethod
    def open(cls, place: Path | str, *, wait_s: float = 5.0) -> Store:
        """Opens, or makes, a store; one of an earlier schema is brought up to date.

        Args:
            place: path of a SQLite file, or ``postgresql://user:password@host/database``.
            wait_s: how long a call waits for another process before it gives up.

        Raises:
            StoreError: unreachable, locked, of a newer schema, or not ours.
            MissingExtraError: Postgres without its driver.
        """
        store = cls(engine_of(place, wait_s), wait_s)
        try:
            with store._writing() as connection:
                bring_up(connection, store.place)
        except BaseException:
            store.close()
            raise
        return store

    @property
    def place(self) -> str:
        """Where it is, without a password."""
        return self._engine.url.render_as_string()

    def close(self) -> None:
        """Closes its connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- items ---

    def put_items(self, items: Iterable[Item]) -> int:
        """Adds items, or replaces those of the same id; returns the store's revision of items after it."""
        given = {one["item_id"]: one for one in checked(items)}  # of one id twice the later one counts
        with self._writing() as connection:
            revision = _next(connection, "items", len(given))
            entries = [
                one | {"deleted": False, "revision": revision - len(given) + place}
                for place, one in enumerate(given.values(), 1)
            ]
            _upsert(connection, schema.items, entries)
        return revision

    def delete_items(self, item_ids: Iterable[str], *, unknown_too: bool = False) -> int:
        """Deletes items; returns how many were deleted.

        Args:
            item_ids: those that are gone already are passed over.
            unknown_too: whether ids that were never put in are entered as deleted; else they are passed over as well.
        """
        ids, table = list(dict.fromkeys(identifier(one, "item_id") for one in item_ids)), schema.items
        with self._writing() as connection:
            revision, known = _next(connection, "items", 0), dict[str, bool]()
            for part in _parts(ids):
                found = connection.execute(select(table.c.item_id, table.c.deleted).where(table.c.item_id.in_(part)))
                known |= {one.item_id: one.deleted for one in found}
            nothing: dict[str, Any] = {"attributes": {}, "available": False, "deleted": True}
            gone = [item_id for item_id in ids if not known.get(item_id, not unknown_too)]
            entries = [nothing | {"item_id": one, "revision": revision + place} for place, one in enumerate(gone, 1)]
            _upsert(connection, table, entries, ("deleted", "revision"))
            _next(connection, "items", len(gone))
        return len(gone)

    def items(self, item_ids: Sequence[str] | None = None) -> list[Item]:
        """The items that are there, or those of them with the ids, in the order in which they last changed."""
        found = select(schema.items).where(~schema.items.c.deleted).order_by(schema.items.c.revision)
        with self._reading() as connection:
            if item_ids is None:
                return [Item(**one) for one in connection.execute(found).mappings()]
            statements = [found.where(schema.items.c.item_id.in_(part)) for part in _parts(dict.fromkeys(item_ids))]
            out = [Item(**one) for each in statements for one in connection.execute(each).mappings()]
        return sorted(out, key=lambda one: one.revision)

    def changed_items(self, since: int = 0) -> list[Item]:
        """Items that changed after a revision, with those that were deleted (``deleted`` is True); oldest first."""
        found = select(schema.items).where(schema.items.c.revision > since).order_by(schema.items.c.revision)
        with self._reading() as connection:
            return [Item(**one) for one in connection.execute(found).mappings()]

    # --- events ---

    def add_events(self, events: Iterable[Event], idempotency_key: str | None = None) -> int:
        """Adds a batch, all or nothing; returns how many were added.

        Args:
            events: in their order.
            idempotency_key: the same key with the same batch again adds nothing, whoever sends it: 0 is returned.

        Raises:
            DataError: the key came with another batch before.
        """
        given, now = checked(events), time.time()
        with self._writing() as connection:
            last = _next(connection, "events", 0) + len(given)
            if idempotency_key is not None and not _first(connection, idempotency_key, given, last):
                return 0
            _next(connection, "events", len(given))
            entries = [
                {**one, "time": now if one["time"] is None else one["time"], "number": last - len(given) + place}
                for place, one in enumerate(given, 1)
            ]
            _insert(connection, schema.events, entries)
        return len(given)

    def events(self, user_id: str | None = None, *, since: int = 0, limit: int | None = None) -> list[Event]:
        """Events in the order of arrival.

        Args:
            user_id: of this user; None: of all.
            since: those after this number (:attr:`Event.number`).
            limit: at most so many; None: all. For a large store ask in parts, with ``since``.
        """
        table = schema.events
        found = select(table).where(table.c.number > since).order_by(table.c.number)
        if user_id is not None:
            found = found.where(table.c.user_id == user_id)
        with self._reading() as connection:
            return [Event(**one) for one in connection.execute(_limited(found, limit)).mappings()]

    def first_events(self, since: int = 0) -> dict[str, int]:
        """User -> number of the oldest event that is there, after a number: whose are gone was forgotten."""
        table = schema.events
        found = select(table.c.user_id, func.min(table.c.number)).where(table.c.number > since)
        with self._reading() as connection:
            return {str(user): int(number) for user, number in connection.execute(found.group_by(table.c.user_id))}

    def counters(self) -> dict[str, int]:
        """The newest numbers of ``items`` (revision), ``events``, ``promotions``, ``requests``; users ``forgotten``."""
        with self._reading() as connection:
            return {str(name): int(value) for name, value in connection.execute(select(schema.counters))}

    # --- users ---

    def put_users(self, users: Iterable[User]) -> int:
        """Adds users, or replaces those of the same id; returns how many."""
        given = {one["user_id"]: one for one in checked(users)}
        with self._writing() as connection:
            _upsert(connection, schema.users, list(given.values()))
        return len(given)

    def users(self, user_ids: Sequence[str] | None = None) -> list[User]:
        """The users that were put in, or those of them with the ids, by id."""
        found = select(schema.users)
        statements = [found]
        if user_ids is not None:
            statements = [found.where(schema.users.c.user_id.in_(part)) for part in _parts(dict.fromkeys(user_ids))]
        with self._reading() as connection:
            out = [User(**one) for each in statements for one in connection.execute(each).mappings()]
        return sorted(out, key=lambda one: one.user_id)  # databases sort texts each in its way

    # --- versions of models ---

    def add_model(self, model: ModelVersion) -> None:
        """Enters a version, or replaces what was known of it."""
        (given,) = checked([model])
        with self._writing() as connection:
            _upsert(connection, schema.models, [given | {"made": given["made"] or time.time()}])

    def models(self) -> list[ModelVersion]:
        """All versions, oldest first."""
        found = select(schema.models).order_by(schema.models.c.made, schema.models.c.version)
        with self._reading() as connection:
            return [ModelVersion(**one) for one in connection.execute(found).mappings()]

    def promote(self, version: str) -> None:
        """Makes a version the one that is served.

        Raises:
            DataError: no such version.
        """
        with self._writing() as connection:
            number = _next(connection, "promotions", 1)
            known = connection.execute(select(schema.models.c.version)).scalars().all()
            if version not in known:
                raise DataError(
                    f"no version {shown(version)} in the store {self.place}; it has: {', '.join(known) or 'none'}"
                )
            entry = {"number": number, "version": version, "time": time.time()}
            connection.execute(insert(schema.promotions), entry)

    def promotions(self) -> list[str]:
        """Versions in the order in which they were promoted; the last one is served."""
        return [each.version for each in self.history()]

    def history(self) -> list[Promotion]:
        """The promotions with their times, oldest first."""
        with self._reading() as connection:
            found = connection.execute(select(schema.promotions).order_by(schema.promotions.c.number)).mappings()
            return [Promotion(**one) for one in found]

    # --- requests ---

    def log_requests(self, requests: Iterable[Logged]) -> int:
        """Enters answered requests; returns how many."""
        given, now = checked(requests), time.time()
        with self._writing() as connection:
            last = _next(connection, "requests", len(given))
            entries = [
                {**one, "time": now if one["time"] is None else one["time"], "number": last - len(given) + place}
                for place, one in enumerate(given, 1)
            ]
            _insert(connection, schema.requests, entries)
        return len(given)

    def requests(self, *, since: int = 0, limit: int | None = None) -> list[Logged]:
        """Logged requests after a number, oldest first."""
        table = schema.requests
        found = _limited(select(table).where(table.c.number > since).order_by(table.c.number), limit)
        with self._reading() as connection:
            return [
                Logged(**{**one, "items": tuple(one["items"])}) for one in connection.execute(found).mappings()
            ]  # fmt: skip

    def forget(self, *, user_id: str | None = None, requests_before: float | None = None) -> int:
        """Deletes a user with events and requests, or requests older than a time; returns how many entries.

        Services that follow the store forget the user's events before their next answer.
        """
        gone = []
        if user_id is not None:
            gone += [delete(t).where(t.c.user_id == user_id) for t in (schema.users, schema.events, schema.requests)]
        if requests_before is not None:
            gone.append(delete(schema.requests).where(schema.requests.c.time < requests_before))
        with self._writing() as connection:
            _next(connection, "forgotten", 0 if user_id is None else 1)
            return sum(connection.execute(each).rowcount for each in gone)

    def _writing(self) -> AbstractContextManager[Connection]:
        return transaction(self._engine, self._wait_s, writes=True)

    def _reading(self) -> AbstractContextManager[Connection]:
        return transaction(self._engine, self._wait_s, writes=False)


def _next(connection: Connection, name: str, count: int) -> int:
    """Takes ``count`` numbers of a counter, and the last of them; the counter stays locked until the commit."""
    table = schema.counters
    taken = update(table).where(table.c.name == name).values(value=table.c.value + count).returning(table.c.value)
    return int(connection.execute(taken).scalar_one())


def _first(connection: Connection, key: str, given: list[dict[str, Any]], last: int) -> bool:
    """Whether a key is new; it is then entered. An entry without a digest is from schema 1: its batch is not known."""
    table, made = schema.batches, digest(given)
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


def _insert(connection: Connection, table: Table, entries: list[dict[str, Any]]) -> None:
    if entries:
        connection.execute(insert(table), entries)


def _upsert(
    connection: Connection, table: Table, entries: list[dict[str, Any]], columns: Collection[str] | None = None
) -> None:
    """Enters, or replaces what is there of the same key: all of it, or only ``columns``."""
    own = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    key = [column.name for column in table.primary_key]
    statement, names = own(table), [column.name for column in table.columns] if columns is None else columns
    replaced = {name: statement.excluded[name] for name in names if name not in key}
    for part in _parts(entries):
        connection.execute(statement.on_conflict_do_update(index_elements=key, set_=replaced), part)


def _parts(given: Iterable[Given]) -> list[list[Given]]:
    """What one statement takes at once."""
    every = list(given)
    return [every[start : start + MOST_AT_ONCE] for start in range(0, len(every), MOST_AT_ONCE)]


def _limited(statement: Select[Any], limit: int | None) -> Select[Any]:
    if limit is None:
        return statement
    at_least_one("limit", limit)
    return statement.limit(limit)
