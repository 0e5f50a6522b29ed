"""A real server in a thread, over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from interlingua.serve.access import Access
from interlingua.serve.app import create_app
from interlingua.serve.limits import ServeLimits
from interlingua.serve.queue import WorkQueue
from interlingua.serve.server import server_of


@contextmanager
def served(model: Any, limits: ServeLimits | None = None, access: Access | None = None) -> Iterator[httpx.Client]:
    """A client of a running service over a recommender, or its holder."""
    bounds = limits or ServeLimits()
    line = WorkQueue(bounds.queue, bounds.deadline_s)
    server = server_of(create_app(model, bounds, line, access), line, bounds, "127.0.0.1", 0, log_level="error")
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(60)
        line.stop(1)


def eventually(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)
