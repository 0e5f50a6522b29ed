"""Where items and events that came after training are kept over a restart: whatever has these few methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from interlingua.errors import MissingExtraError

if TYPE_CHECKING:
    from interlingua.store.records import Event, EventColumns, Item, ModelVersion

TEXTS = ("title", "description", "categories")
"""columns that are no attributes"""


class StoreLike(Protocol):
    """A store: what a call has returned for is durable. :class:`interlingua.store.Store` is one."""

    def put_items(self, items: Iterable[Item]) -> int:
        """Adds items, or replaces those of the same id."""
        ...

    def delete_items(self, item_ids: Iterable[str], *, unknown_too: bool = False) -> int:
        """Deletes items; ids that were never put in are passed over, or entered as deleted."""
        ...

    def changed_items(self, since: int = 0) -> list[Item]:
        """Items that changed after a revision, with those that were deleted, in the order of their last change."""
        ...

    def add_events(self, events: Iterable[Event], idempotency_key: str | None = None) -> int:
        """Adds a batch, all or nothing; the same key with the same batch again adds nothing (0)."""
        ...

    def events(self, user_id: str | None = None, *, since: int = 0, limit: int | None = None) -> list[Event]:
        """Events in the order of arrival."""
        ...

    def event_columns(self, *, since: int = 0, limit: int | None = None) -> EventColumns:
        """Those of all users, column by column."""
        ...

    def first_events(self, since: int = 0) -> Mapping[str, int]:
        """User -> number of the oldest event that is there, after a number."""
        ...

    def counters(self) -> Mapping[str, int]:
        """Name -> number; that of ``events`` moves with every event, that of ``forgotten`` with every such user."""
        ...

    def models(self) -> Sequence[ModelVersion]:
        """Versions of models, with the newest event of the store that each was trained with."""
        ...


def opened(store: StoreLike | Path | str | None) -> StoreLike | None:
    """A store, or the one at a place: a file, or ``postgresql://...``.

    Raises:
        StoreError: it cannot be opened.
        MissingExtraError: SQLAlchemy is not installed.
    """
    if not isinstance(store, str | Path):
        return store
    try:
        from interlingua.store import Store
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "store", "a store") from None
    return Store.open(store)


def item_of(line: Mapping[str, str | None], available: bool) -> Item:
    """A line of a catalogue as the store keeps it."""
    from interlingua.store.records import Item

    attributes = {name: value for name, value in line.items() if name not in ("item_id", *TEXTS) and value is not None}
    title, description, categories = (line.get(name) for name in TEXTS)
    return Item(str(line["item_id"]), title, description, categories, attributes, available)


def line_of(item: Item) -> dict[str, Any]:
    """The line of a stored item, with ``available``; what the store says nothing of is not in it."""
    texts = zip(TEXTS, (item.title, item.description, item.categories), strict=True)
    said = {name: text for name, text in texts if text is not None}
    return {"item_id": item.item_id, **said, **item.attributes, "available": item.available}
