"""The page at ``/`` and the routes that it needs beside the service's own: titles, users, lists side by side, a map.

Everything that it loads comes from here, by a policy that lets the browser load nothing else and run no inline script.
"""

from __future__ import annotations

import hashlib
from asyncio import to_thread
from importlib import resources
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response

from interlingua.serve.access import may_read_people, needs
from interlingua.serve.guard import KEY
from interlingua.serve.page_drift import DriftReports
from interlingua.serve.page_list import listed
from interlingua.serve.page_schema import (
    MOST_FOUND,
    About,
    DriftRequest,
    DriftResponse,
    ItemRequest,
    ItemResponse,
    ListRequest,
    ListResponse,
    MapResponse,
    ModelResponse,
    Titles,
    UserHistory,
    UserRequest,
    Users,
    UsersRequest,
    WhyRequest,
    WhyResponse,
)
from interlingua.serve.page_views import PageViews
from interlingua.serve.places import without_places

if TYPE_CHECKING:
    from interlingua.serve.answering import Listed
    from interlingua.serve.model import ServedModel

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""what the browser may load and run on the page; no markup is made of texts anywhere"""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
TYPES = {"js": "text/javascript", "css": "text/css", "html": "text/html", "svg": "image/svg+xml"}


def files() -> dict[str, tuple[bytes, str, str]]:
    """Name -> (contents, type, tag) of the page's files, read once."""
    found = {}
    for each in resources.files("interlingua.web").iterdir():
        kind = TYPES.get(each.name.rpartition(".")[2])
        if kind is not None:
            contents = each.read_bytes()
            found[each.name] = contents, f"{kind}; charset=utf-8", f'"{hashlib.sha256(contents).hexdigest()[:16]}"'
    return found


def page(model: ServedModel, answering: Listed) -> APIRouter:
    """The page and the routes that it needs; ``answering``: how lists are made in the line."""
    router = APIRouter()
    router.include_router(file_routes())
    router.include_router(page_routes(model, answering))
    router.include_router(drift_routes(model))
    return router


def file_routes() -> APIRouter:
    """``/`` and ``/static``: they need no key, and say nothing of the run."""
    router, known = APIRouter(include_in_schema=False), files()

    def sent(name: str, http: Request) -> Response:
        if name not in known:
            raise HTTPException(404, "no such file")
        contents, kind, tag = known[name]
        if http.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=HEADERS | {"ETag": tag})
        return Response(contents, media_type=kind, headers=HEADERS | {"ETag": tag})

    @router.get("/")
    async def index(http: Request) -> Response:
        return sent("index.html", http)

    @router.get("/static/{name}")
    async def static(name: str, http: Request) -> Response:
        return sent(name, http)

    return router


def page_routes(model: ServedModel, answering: Listed) -> APIRouter:
    """The routes that the page asks, for the role read."""
    router = APIRouter(prefix="/v1", dependencies=[Depends(needs("read"))])
    views, line = PageViews(lambda: model.now), answering.line

    @router.get("/titles")
    async def titles(
        http: Request,
        q: Annotated[str, Query(max_length=200)] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_FOUND)] = 10,
    ) -> Titles:
        """Items whose titles have all these words, or with this id; without words the popular ones."""
        return await line.do(lambda: views.titles(q, limit), http.scope[KEY])

    @router.get("/page/about")
    async def about(http: Request) -> About:
        """The run that answers, in a few words and numbers."""
        found = await line.do(views.about, http.scope[KEY])
        training = None if model.training is None else model.training()
        if training is not None:
            training = training | {"words": without_places(training["words"], model.folders)}
        return found.model_copy(update={"versions": model.store is not None, "training": training})

    @router.post("/page/users", dependencies=[Depends(may_read_people)])
    async def users(request: UsersRequest, http: Request) -> Users:
        """Some users, or those with a part of their ids."""
        return await line.do(lambda: views.users(request), http.scope[KEY])

    @router.post("/page/user", dependencies=[Depends(may_read_people)])
    async def user(request: UserRequest, http: Request) -> UserHistory:
        """What a user has had."""
        return await line.do(lambda: views.user(request.user_id), http.scope[KEY])

    @router.post("/page/list")
    async def list_of(request: ListRequest, http: Request) -> ListResponse:
        """The list of one column: popularity, a member or the backbone, what is recommended."""
        return await listed(views, request, http.scope[KEY], answering)

    @router.post("/page/why")
    async def why(request: WhyRequest, http: Request) -> WhyResponse:
        """Reasons by the score of one column."""
        return await line.do(lambda: views.why(request), http.scope[KEY])

    @router.get("/page/map")
    async def item_map(http: Request) -> MapResponse:
        """A sample of the items, and all new ones, on a plane through the space of their vectors."""
        return await line.do(views.item_map, http.scope[KEY])

    @router.post("/page/item")
    async def item(request: ItemRequest, http: Request) -> ItemResponse:
        """Where an item stands on the map, what is like it, and in whose lists it comes out."""
        return await line.do(lambda: views.item(request), http.scope[KEY])

    @router.get("/page/model")
    async def measured(http: Request) -> ModelResponse:
        """What the run is made of, and what was measured."""
        return await line.do(views.model, http.scope[KEY])

    return router


def drift_routes(model: ServedModel) -> APIRouter:
    """How far the version that answers is from another one of the store; for the role admin, as all of versions."""
    router, reports = APIRouter(prefix="/v1", dependencies=[Depends(needs("admin"))]), DriftReports(model)

    @router.post("/page/drift")
    async def drift(request: DriftRequest) -> DriftResponse:
        """Compares both versions on a sample of users; both are opened for that, beside the traffic."""
        return DriftResponse(report=await to_thread(reports.of, request.version))

    return router
