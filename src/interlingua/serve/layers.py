"""The layers around the application, from the outermost: seen, traced, CORS, HEAD as GET, let in and bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from interlingua.serve.door import CORS, Door
from interlingua.serve.guard import Answers, Guard
from interlingua.serve.head import Headed
from interlingua.serve.seen import Seen
from interlingua.serve.tracing import Traced

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from interlingua.serve.access import Access
    from interlingua.serve.counts import Counts
    from interlingua.serve.limits import ServeLimits
    from interlingua.serve.model import ServedModel
    from interlingua.serve.workers import Worker


def add_layers(
    app: FastAPI, limits: ServeLimits, counts: Counts, model: ServedModel, access: Access | None,
    quick: Answers | None = None, tracing: TracerProvider | None = None, worker: Worker | None = None,
) -> None:  # fmt: skip
    """Puts them around an application; whoever is added last sees a request first."""
    door = None if access is None else Door(access, counts, None if worker is None else worker.buckets)
    app.add_middleware(Guard, limits=limits, door=door, quick=quick)
    app.add_middleware(Headed)
    if access is not None and access.origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(access.origins), **CORS)
    if tracing is not None:
        app.add_middleware(Traced, provider=tracing)
    app.add_middleware(Seen, counts=counts, version=lambda: model.now.version)
