"""A finished run over HTTP: ``POST /v1/recommend``, health and metrics. One process, one model, answers one at a time.

Requests wait for the model in a line of bounded length (:mod:`interlingua.serve.queue`); everything else is answered
beside it, at once. What a client can take is bounded (:mod:`interlingua.serve.limits`).
"""

from __future__ import annotations

import time
from asyncio import to_thread
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI, Request, Response

from interlingua import __version__
from interlingua.serve.access import Access, needs
from interlingua.serve.answering import Listed
from interlingua.serve.api_docs import api_docs
from interlingua.serve.changes import changes
from interlingua.serve.counts import Counts
from interlingua.serve.guard import KEY
from interlingua.serve.health import health
from interlingua.serve.layers import add_layers
from interlingua.serve.limits import ServeLimits
from interlingua.serve.model import ServedModel
from interlingua.serve.one_item import one_item
from interlingua.serve.page import page
from interlingua.serve.queue import WorkQueue
from interlingua.serve.quick import Quick
from interlingua.serve.refusals import RESPONSES, add_refusals
from interlingua.serve.schema import RecommendRequest, RecommendResponse
from interlingua.serve.tracing import sent
from interlingua.serve.versions import versions
from interlingua.serve.workers import Worker

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from interlingua.recommender import Recommender


def create_app(
    recommender: Recommender | ServedModel, limits: ServeLimits | None = None, queue: WorkQueue | None = None,
    access: Access | None = None, worker: Worker | None = None, tracing: TracerProvider | None = None,
) -> FastAPI:  # fmt: skip
    """The application over one recommender; run it with any ASGI server.

    Args:
        recommender: a loaded run, or the holder of one (:mod:`interlingua.serve.model`), which may be swapped. It is
            asked once at start, so that the first request finds everything loaded.
        limits: what a client can take. Slow connections are the server's part (:mod:`interlingua.serve.server`).
        queue: the line in front of the model, where the caller wants to stop it too.
        access: who may do what; None: everybody everything.
        worker: this process, where several serve together.
        tracing: where spans go (:mod:`interlingua.serve.tracing`); None: there are none.
    """
    bounds = limits or ServeLimits()
    model, line = ServedModel.of(recommender), queue or WorkQueue(bounds.queue, bounds.deadline_s)
    counts = Counts(model.now.version)
    model.count(counts)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        with model.running(line):
            app.state.ready = True
            yield
            app.state.ready = False
        line.stop()
        await sent(tracing)

    app = FastAPI(
        title="Interlingua",
        version=__version__,
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        responses=RESPONSES,
    )
    app.state.ready = False
    app.state.access, app.state.counts, app.state.model = access, counts, model
    quick = Quick(model, line, access)
    lists = Listed(line, quick)

    def waiting() -> int:
        return line.waiting + quick.waiting

    counts.queue(waiting if worker is None else worker.waiting(waiting))
    line.waited = counts.waited
    add_layers(app, bounds, counts, model, access, quick.answer, tracing, worker)
    add_refusals(app)

    @app.post("/v1/recommend", dependencies=[Depends(needs("read"))], response_model=RecommendResponse)
    async def recommend(request: RecommendRequest, http: Request) -> RecommendResponse | Response:
        """The best items for a known user or for a history, with reasons if asked."""
        started, now = time.perf_counter(), model.now
        if request.user_id is not None:
            await to_thread(now.user_row, request.user_id)  # an unknown one does not wait for the model
        return await lists.answer(request, http.scope[KEY], now, started)

    app.include_router(changes(model, line, counts))
    app.include_router(versions(model))
    app.include_router(one_item(model, line))
    app.include_router(page(model, lists))
    app.include_router(api_docs())
    app.include_router(health(model, waiting, counts, worker))
    return app
