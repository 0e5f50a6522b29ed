"""The store: one class over one database. Every method that writes returns when what it wrote is durable."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine, delete, func, insert, select

import interlingua.store.schema as schema
from interlingua.errors import DataError, StoreError, identifier, shown
from interlingua.store.connect import engine_of, transaction
from interlingua.store.migrations import bring_up
from interlingua.store.records import (
    Event,
    EventColumns,
    Item,
    Logged,
    ModelVersion,
    Promotion,
    User,
    checked,
)
from interlingua.store.statements import first_time, insert_all, limited, next_number, parts, upsert
from interlingua.store.steps import steps

MADE_BY = (
    "give the file of one, or postgresql://user:password@host/database; a new one is made by interlingua serve RUN "
    "--store STORE, and by interlingua promote RUN --store STORE"
)
"""what to do where there is no store"""


class Store:
    """Items, events, users, versions of models and requests of one service.

    Several processes may have it open. Ids are texts, in the order of the newest change or of arrival.
    """

    def __init__(self, engine: Engine, wait_s: float) -> None:
        self._engine, self._wait_s = engine, wait_s

    @classmethod
    def open(cls, place: Path | str, *, wait_s: float = 5.0, make: bool = True) -> Self:
        """Opens, or makes, a store; one of an earlier schema is brought up to date.

        Args:
            place: path of a SQLite file, or ``postgresql://user:password@host/database``.
            wait_s: how long a call waits for another process before it gives up.
            make: False: what is not there is an error, and nothing is made.

        Raises:
            StoreError: unreachable, locked, of a newer schema, not ours, or not there and not to be made.
            MissingExtraError: Postgres without its driver.
        """
        engine = engine_of(place, wait_s)
        store = cls(engine, wait_s)
        file = engine.url.database if engine.url.get_backend_name() == "sqlite" else None
        if not make and file is not None and not Path(file).is_file():
            raise StoreError(f"there is no store at {file}; {MADE_BY}")
        try:
            with store._writing() as connection:
                bring_up(connection, store.place, None if make else MADE_BY)
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
        """Adds items, or replaces those of the same id; returns the store's revision of items after it.

        What is added again after it was deleted is marked so (:attr:`Item.whole`), until it is deleted once more.
        """
        given = {one["item_id"]: one for one in checked(items)}  # of one id twice the later one counts
        with self._writing() as connection:
            revision, table = next_number(connection, "items", len(given)), schema.items
            again = set[str]()
            for part in parts(list(given)):
                was = select(table.c.item_id).where(table.c.item_id.in_(part), table.c.deleted | table.c.whole)
                again |= set(connection.execute(was).scalars())
            entries = [
                one | {"deleted": False, "whole": one["item_id"] in again, "revision": revision - len(given) + place}
                for place, one in enumerate(given.values(), 1)
            ]
            upsert(connection, table, entries)
        return revision

    def delete_items(self, item_ids: Iterable[str], *, unknown_too: bool = False) -> int:
        """Deletes items; returns how many were deleted.

        Args:
            item_ids: those that are gone already are passed over.
            unknown_too: whether ids that were never put in are entered as deleted; else they are passed over as well.
        """
        ids, table = list(dict.fromkeys(identifier(one, "item_id") for one in item_ids)), schema.items
        with self._writing() as connection:
            revision, known = next_number(connection, "items", 0), dict[str, bool]()
            for part in parts(ids):
                found = connection.execute(select(table.c.item_id, table.c.deleted).where(table.c.item_id.in_(part)))
                known |= {one.item_id: one.deleted for one in found}
            nothing: dict[str, Any] = {"attributes": {}, "available": False, "deleted": True}
            gone = [item_id for item_id in ids if not known.get(item_id, not unknown_too)]
            entries = [nothing | {"item_id": one, "revision": revision + place} for place, one in enumerate(gone, 1)]
            upsert(connection, table, entries, ("deleted", "revision"))
            next_number(connection, "items", len(gone))
        return len(gone)

    def items(self, item_ids: Sequence[str] | None = None) -> list[Item]:
        """The items that are there, or those of them with the ids, in the order in which they last changed."""
        found = select(schema.items).where(~schema.items.c.deleted).order_by(schema.items.c.revision)
        with self._reading() as connection:
            if item_ids is None:
                return [Item(**one) for one in connection.execute(found).mappings()]
            statements = [found.where(schema.items.c.item_id.in_(part)) for part in parts(dict.fromkeys(item_ids))]
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
            last = next_number(connection, "events", 0) + len(given)
            if idempotency_key is not None and not first_time(connection, idempotency_key, given, last):
                return 0
            next_number(connection, "events", len(given))
            entries = [
                {**one, "time": now if one["time"] is None else one["time"], "number": last - len(given) + place}
                for place, one in enumerate(given, 1)
            ]
            insert_all(connection, schema.events, entries)
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
            return [Event(**one) for one in connection.execute(limited(found, limit)).mappings()]

    def event_columns(self, *, since: int = 0, limit: int | None = None) -> EventColumns:
        """:meth:`events` of all users as columns: cheaper for many at once."""
        table = schema.events
        columns = [table.c[name] for name in EventColumns._fields]
        found = select(*columns).where(table.c.number > since).order_by(table.c.number)
        with self._reading() as connection:
            lines = connection.execute(limited(found, limit)).all()
        return EventColumns(*map(list, zip(*lines, strict=True))) if lines else EventColumns([], [], [], [], [])

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
            upsert(connection, schema.users, list(given.values()))
        return len(given)

    def users(self, user_ids: Sequence[str] | None = None) -> list[User]:
        """The users that were put in, or those of them with the ids, by id."""
        found = select(schema.users)
        statements = [found]
        if user_ids is not None:
            statements = [found.where(schema.users.c.user_id.in_(part)) for part in parts(dict.fromkeys(user_ids))]
        with self._reading() as connection:
            out = [User(**one) for each in statements for one in connection.execute(each).mappings()]
        return sorted(out, key=lambda one: one.user_id)  # databases sort texts each in its way

    # --- versions of models ---

    def add_model(self, model: ModelVersion) -> None:
        """Enters a version, or replaces what was known of it."""
        (given,) = checked([model])
        with self._writing() as connection:
            upsert(connection, schema.models, [given | {"made": given["made"] or time.time()}])

    def models(self) -> list[ModelVersion]:
        """All versions, oldest first."""
        found = select(schema.models).order_by(schema.models.c.made, schema.models.c.version)
        with self._reading() as connection:
            return [ModelVersion(**one) for one in connection.execute(found).mappings()]

    def promote(self, version: str) -> None:
        """Makes a version the one that is served: a step on (:mod:`interlingua.store.steps`).

        Raises:
            DataError: no such version.
        """
        with self._writing() as connection:
            known = connection.execute(select(schema.models.c.version)).scalars().all()
            if version not in known:
                raise DataError(
                    f"no version {shown(version)} in the store {self.place}; it has: {', '.join(known) or 'none'}"
                )
            number = next_number(connection, "promotions", 1)
            done = steps(_history(connection))
            back = done[-1].number if done and done[-1].version == version else None
            _enter(connection, Promotion(number, version, time.time(), back))

    def go_back(self, step: int) -> str:
        """Lets the version of an earlier step serve again, and forgets the steps after it; returns the version.

        Args:
            step: number of its promotion.

        Raises:
            DataError: it is none of the steps that led to what serves.
        """
        with self._writing() as connection:
            number = next_number(connection, "promotions", 1)
            found = next((each for each in steps(_history(connection)) if each.number == step), None)
            if found is None:
                raise DataError(
                    f"promotion {step} is none of the steps that led to what serves in {self.place}: somebody changed "
                    "what serves in the meantime; look at the versions, and try again"
                )
            _enter(connection, Promotion(number, found.version, time.time(), step))
        return found.version

    def promotions(self) -> list[str]:
        """Versions in the order in which they began to serve, by promotion or rollback; the last one is served."""
        return [each.version for each in self.history()]

    def history(self) -> list[Promotion]:
        """Promotions and rollbacks with their times, oldest first."""
        with self._reading() as connection:
            return _history(connection)

    # --- requests ---

    def log_requests(self, requests: Iterable[Logged]) -> int:
        """Enters answered requests; returns how many."""
        given, now = checked(requests), time.time()
        with self._writing() as connection:
            last = next_number(connection, "requests", len(given))
            entries = [
                {**one, "time": now if one["time"] is None else one["time"], "number": last - len(given) + place}
                for place, one in enumerate(given, 1)
            ]
            insert_all(connection, schema.requests, entries)
        return len(given)

    def requests(self, *, since: int = 0, limit: int | None = None) -> list[Logged]:
        """Logged requests after a number, oldest first."""
        table = schema.requests
        found = limited(select(table).where(table.c.number > since).order_by(table.c.number), limit)
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
            next_number(connection, "forgotten", 0 if user_id is None else 1)
            return sum(connection.execute(each).rowcount for each in gone)

    def _writing(self) -> AbstractContextManager[Connection]:
        return transaction(self._engine, self._wait_s, writes=True)

    def _reading(self) -> AbstractContextManager[Connection]:
        return transaction(self._engine, self._wait_s, writes=False)


def _history(connection: Connection) -> list[Promotion]:
    found = connection.execute(select(schema.promotions).order_by(schema.promotions.c.number)).mappings()
    return [Promotion(**one) for one in found]


def _enter(connection: Connection, promotion: Promotion) -> None:
    connection.execute(insert(schema.promotions), vars(promotion))
