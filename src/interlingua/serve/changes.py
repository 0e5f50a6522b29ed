"""``/v1/items`` and ``/v1/events``: what comes after training, put in, changed and taken out while the service runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Depends, Header, Request
from starlette.convertors import StringConvertor, register_url_convertor

from interlingua.errors import ConfigError, DataError, identifier, shown
from interlingua.serve.access import needs
from interlingua.serve.guard import KEY
from interlingua.serve.model import ServedModel
from interlingua.serve.schema import EventsRequest, EventsResponse, ItemBody, ItemsRequest, ItemsResponse

if TYPE_CHECKING:
    from interlingua.recommender import Recommender
    from interlingua.runs.shelf import Changed
    from interlingua.serve.counts import Counts
    from interlingua.serve.queue import WorkQueue

T = TypeVar("T")
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=500)]


class Rest(StringConvertor):
    """The rest of a path, whatever is in it: also slashes and ends of lines."""

    regex = "(?s:.*)"


register_url_convertor("rest", Rest())


async def _in_path(item_id: str, http: Request) -> str:
    """An id as it stands in the path, checked like one in a body."""
    try:
        unquote_to_bytes(http.scope.get("raw_path") or b"").decode()
    except UnicodeDecodeError:
        raise DataError("item_id in the path is no UTF-8; percent-encode the id as UTF-8") from None
    return identifier(item_id, "item_id in the path")


ItemId = Annotated[str, Depends(_in_path)]


def changes(model: ServedModel, line: WorkQueue, counts: Counts) -> APIRouter:
    """The routes; they wait in the line of the model, so that an answer sees a change as a whole or not at all."""
    router = APIRouter(prefix="/v1", dependencies=[Depends(needs("write"))])

    async def changed(http: Request, make: Callable[[Recommender], T]) -> T:
        return await line.do(lambda: model.change(make), http.scope[KEY], alone=True)

    def response(changed: Changed) -> ItemsResponse:
        counts.items(len(changed.added), len(changed.updated), len(changed.removed))
        return ItemsResponse(**{name: list(said) for name, said in vars(changed).items()})

    async def put(lines: list[dict[str, Any]], http: Request) -> ItemsResponse:
        return response(await changed(http, lambda now: now.add_items(lines)))

    @router.post("/items")
    async def put_items(request: ItemsRequest, http: Request) -> ItemsResponse:
        """Adds items, which come out at once by their texts, or changes known ones; all of them, or none."""
        return await put([item.line(item.item_id) for item in request.items], http)

    @router.put("/items/{item_id:rest}")
    async def put_item(item: ItemId, request: ItemBody, http: Request) -> ItemsResponse:
        """Adds an item, or changes it: what is not given stays."""
        return await put([request.line(item)], http)

    @router.delete("/items/{item_id:rest}")
    async def delete_item(item: ItemId, http: Request) -> ItemsResponse:
        """Takes an item out; one of the run's own still counts in histories."""
        return response(await changed(http, lambda now: now.remove_items([item])))

    @router.post("/events")
    async def add_events(
        request: EventsRequest, http: Request, idempotency_key: IdempotencyKey = None
    ) -> EventsResponse:
        """Enters what users had: it counts in their next answer. The same key with the same batch adds nothing."""
        events = [event.model_dump() for event in request.events]
        keys = dict.fromkeys(key for key in (request.idempotency_key, idempotency_key) if key is not None)
        if len(keys) > 1:
            first, second = map(shown, keys)
            raise ConfigError(
                f"the idempotency key is {first} in the body and {second} in the header; give one of them"
            )
        key = next(iter(keys), None)
        found = await changed(http, lambda now: now.enter(events, key))
        counts.events(found.added)
        return EventsResponse(added=found.added, unknown_items=found.unknown, notes=found.notes)

    return router
