"""``/health`` and ``/metrics``: answered beside the line, whatever the model does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse

from interlingua.serve.access import may_see_metrics
from interlingua.serve.counts import CONTENT_TYPE

if TYPE_CHECKING:
    from interlingua.serve.counts import Counts
    from interlingua.serve.model import ServedModel
    from interlingua.serve.workers import Worker


ALIVE_SAYS = b'{"status":"alive"}'
"""answered before the framework (:mod:`interlingua.serve.quick`), and here where nothing is before it"""


def health(model: ServedModel, waiting: Callable[[], int], counts: Counts, worker: Worker | None = None) -> APIRouter:
    """The routes; ``waiting``: how many requests do, ``worker``: this process, where several serve together."""
    router = APIRouter()

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        """The process answers."""
        return {"status": "alive"}

    @router.get("/health/ready")
    async def ready(http: Request, response: Response) -> dict[str, Any]:
        """The model is loaded and has answered once."""
        response.status_code, now = 200 if http.app.state.ready else 503, model.now
        return {
            "status": "ready" if http.app.state.ready else "starting",
            "model_version": now.version,
            "users": now.train.num_users,
            "items": now.train.num_items,
            "reranks": now.has_ranker,
            "index": "exact" if now.index is None else "approximate",
            "problem": model.problem,
            "waiting": waiting(),
            "workers": 1 if worker is None else worker.board.ready,
        }

    @router.get("/metrics", response_class=PlainTextResponse, dependencies=[Depends(may_see_metrics)])
    async def metrics() -> Response:
        """Requests and latencies in the Prometheus text format."""
        return Response(counts.text(), media_type=CONTENT_TYPE)

    return router
