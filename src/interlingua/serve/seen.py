"""The outermost layer: each request has an id, one line in the log, a place in the counts, and safe headers.

The log has the route's form (``/v1/items/{item_id}``), never a path, a query string, a body, a key or an address. What
breaks is logged by its type and place: what an exception says may hold an id.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from secrets import token_hex
from typing import Any

from interlingua.serve.access import CALLER, Caller
from interlingua.serve.asgi import ROUTE, App, Message, Receive, Scope, Send
from interlingua.serve.broken import broken
from interlingua.serve.counts import Counts

REQUEST_ID = "interlingua.request_id"
"""where a request's id is in the ASGI scope"""
GONE = 499
"""in the counts: the client went before there was an answer"""
SANE = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
"""an id of a request that is taken as it came"""
UNKNOWN = "unknown"
"""the route of what no route answers"""
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy",
     b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"),
]  # fmt: skip
"""of every answer that has none of its own: a page loads what is the service's, and no other page frames it"""
PRIVATE = (b"cache-control", b"no-store")
"""of answers to questions, which no cache between keeps"""

log = logging.getLogger("interlingua.serve.requests")


class Seen:
    """See the module."""

    def __init__(self, app: App, counts: Counts, version: Callable[[], str]) -> None:
        """``version``: of the model that serves now."""
        self.app, self.counts, self.version = app, counts, version

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's message: only HTTP requests are seen."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, fault = time.perf_counter(), GONE, None
        number = scope[REQUEST_ID] = _id(scope)
        more = [(b"x-request-id", number.encode()), *HEADERS]
        if scope["path"].startswith("/v1/"):
            more.append(PRIVATE)

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                own = list(message.get("headers", ()))
                names = {name.lower() for name, _ in own}
                message["headers"] = own + [each for each in more if each[0] not in names]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception as error:
            fault = error
            if status == GONE:
                await _apologise(noted, number)
        finally:
            self._note(scope, status, time.perf_counter() - started, fault)

    def _note(self, scope: Scope, status: int, seconds: float, error: Exception | None) -> None:
        path = route_of(scope)
        caller: Caller | None = scope.get(CALLER)
        self.counts.add(path, status, seconds, None if caller is None else caller.role)
        level = logging.INFO if error is None else logging.ERROR
        if not log.isEnabledFor(level):
            return
        seen: dict[str, Any] = {
            "id": scope[REQUEST_ID],
            "method": scope["method"] if path != UNKNOWN else None,
            "route": path,
            "status": status,
            "ms": round(seconds * 1000, 2),
            "key": None if caller is None else caller.name,
            "model": self.version(),
        }
        if error is not None:
            seen |= broken(error)
        log.log(level, "request", extra={"seen": seen})


def route_of(scope: Scope) -> str:
    """The form of the route that answered."""
    route = scope.get("route")
    path: str = scope.get(ROUTE, UNKNOWN) if route is None else route.path
    return path


def _id(scope: Scope) -> str:
    """The request's own id where it is a plain word, else a new one."""
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    return given[0].decode() if len(given) == 1 and SANE.fullmatch(given[0]) else token_hex(8)


async def _apologise(send: Send, number: str) -> None:
    """The answer where something broke."""
    said = {
        "detail": "something broke in the service; its log says where, under this request's id",
        "request_id": number,
    }
    content = json.dumps(said).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": content})
