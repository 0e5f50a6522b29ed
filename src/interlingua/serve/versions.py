"""``/v1/models``: the versions of the store, and which of them serves. Only with a store."""

from __future__ import annotations

from asyncio import to_thread
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from interlingua.errors import ConfigError
from interlingua.life.versions import listing, promote, rollback
from interlingua.serve.access import needs

if TYPE_CHECKING:
    from interlingua.serve.model import ServedModel
    from interlingua.store import ModelVersion, Store


class Version(BaseModel):
    """One trained version."""

    version: str
    serves: bool
    """whether it is the promoted one"""
    promoted: list[float]
    """seconds since 1970: each time it was promoted"""
    made: float | None
    metrics: dict[str, float]
    """``PROTOCOL METRIC`` -> mean over users"""
    note: str
    events: int
    """number of the newest event of the store that it was trained with"""


class Models(BaseModel):
    """The versions, newest first."""

    serving: str
    """the version that answers now"""
    since: float
    """seconds since 1970"""
    problem: str | None
    """which promoted version does not serve, and the error's kind; the log says why"""
    models: list[Version]


class Promoted(BaseModel):
    """What serves from now on; running services swap within seconds."""

    version: str
    before: str | None
    """the version that was promoted until now"""


def versions(model: ServedModel) -> APIRouter:
    """The routes, for the role admin."""
    router = APIRouter(prefix="/v1/models", dependencies=[Depends(needs("admin"))])

    def store() -> Store:
        if model.store is None:
            raise ConfigError("this service has no store and one version only; start it with --store")
        return model.store

    def change(make: str | None, back: bool) -> Promoted:
        place = store()
        before = next(iter(place.promotions()[-1:]), None)
        made: ModelVersion = rollback(place) if back else promote(place, str(make))
        return Promoted(version=made.version, before=before)

    @router.get("")
    async def models() -> Models:
        """All versions of the store, newest first."""
        found = await to_thread(lambda: listing(store()))
        said = [Version(**{name: value for name, value in each.items() if name != "path"}) for each in found]
        return Models(serving=model.now.version, since=model.since, problem=model.problem, models=said)

    @router.post("/rollback")
    async def roll_back() -> Promoted:
        """Lets the version that served before serve again."""
        return await to_thread(change, None, True)

    @router.post("/{version}/promote")
    async def let_serve(version: str) -> Promoted:
        """Lets a version serve."""
        return await to_thread(change, version, False)

    return router
