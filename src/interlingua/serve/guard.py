"""A layer before the application: lets a request in, bounds its body, and notices when the client goes.

Plain ASGI, so that it works with any server. The body is read here, before the application sees the request: a slow
sender holds nothing but its own connection.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from interlingua.runtime.cancel import Cancellation
from interlingua.serve.asgi import ROUTE, App, Message, Receive, Send
from interlingua.serve.door import HEALTH, Door
from interlingua.serve.limits import ServeLimits
from interlingua.serve.queue import BusyError
from interlingua.serve.turns import Turns

Answers = Callable[[MutableMapping[str, Any], bytes], Awaitable[bytes | None]]
LINGER_S, LINGER_BYTES = 1.0, 32 << 20
"""a body that is too large is thrown away for so long before the connection is closed: a client that sends it all
before it reads would otherwise see a broken connection instead of the answer"""
BODIES = 32
"""bodies of the largest size that may be in memory at one time"""
NOTHING: Mapping[str, str] = {}
KEY = "interlingua.cancellation"
"""where the application finds the request's :class:`interlingua.runtime.cancel.Cancellation` in the ASGI scope"""


class Guard:
    """The application with bounds around it."""

    def __init__(self, app: App, limits: ServeLimits, door: Door | None = None, quick: Answers | None = None) -> None:
        """The application with its layer.

        Args:
            app: the application.
            limits: the bounds.
            door: who is let in at all; None: everybody.
            quick: answers in JSON to what it can answer at once, before the application; None: it cannot.
        """
        self.app, self.limits, self.door, self.quick = app, limits, door, quick
        self._held, self.turns = 0, Turns()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One connection's message: only HTTP requests are bounded."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = None if self.door is None else self.door.admit(scope)
        if refusal is not None:
            await _refuse(receive, send, refusal.status, refusal.reason, refusal.headers)
            return
        if not scope["path"].startswith(HEALTH):
            await self.turns.take()
        await self._bounded(scope, receive, send)

    async def _bounded(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        body = bytearray()
        try:
            problem = await self._read(scope, receive, body)
            if problem is not None:
                await _refuse(receive, send, *problem)
                return
            if self.quick is None or not await _at_once(self.quick, scope, send, bytes(body)):
                await self._answered(scope, receive, send, bytes(body))
        except ConnectionResetError:
            return  # the client went while it sent
        finally:
            self._held -= len(body)

    async def _read(self, scope: MutableMapping[str, Any], receive: Receive, body: bytearray) -> tuple[int, str] | None:
        """Reads the whole body; returns status and reason where that is refused."""
        most = self.limits.max_body
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and int(announced[:20]) > most:
            return 413, f"the body has {int(announced[:20]):,} bytes, more than {most:,}"
        try:
            async with asyncio.timeout(self.limits.body_s):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ConnectionResetError
                    part = message.get("body", b"")
                    if len(body) + len(part) > most:
                        return 413, f"the body has more than {most:,} bytes"
                    if self._held + len(part) > BODIES * most:
                        return 503, "too many large bodies at one time; try again later"
                    body += part
                    self._held += len(part)
                    more = message.get("more_body", False)
        except TimeoutError:
            return 408, f"the body was not there after {self.limits.body_s:g} s"
        return None

    async def _answered(self, scope: MutableMapping[str, Any], receive: Receive, send: Send, body: bytes) -> None:
        """Runs the application on a body that is there, and watches the connection meanwhile."""
        cancellation = scope[KEY] = Cancellation(self.limits.deadline_s)
        gone, given = asyncio.Event(), False

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            cancellation.cancel()
            gone.set()

        async def replay() -> Message:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        watching, running = asyncio.ensure_future(watch()), asyncio.ensure_future(self.app(scope, replay, send))
        try:
            await asyncio.wait({watching, running}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():  # the client has gone: whatever waits for the model waits no longer
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running
                return
            running.result()
        finally:
            cancellation.cancel()
            for task in (watching, running):
                task.cancel()


async def _at_once(quick: Answers, scope: MutableMapping[str, Any], send: Send, body: bytes) -> bool:
    """Sends what can be answered before the application; False: it is to answer."""
    status, more = 200, list[tuple[bytes, bytes]]()
    try:
        content = await quick(scope, body)
    except BusyError as error:
        content, status = json.dumps({"detail": error.reason}).encode(), error.status
        more = [(b"retry-after", str(error.retry_after).encode())]
    if content is None:
        return False
    scope[ROUTE] = scope["path"]
    headers = [(b"content-length", str(len(content)).encode()), (b"content-type", b"application/json"), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
    return True


async def _refuse(receive: Receive, send: Send, status: int, reason: str, more: Mapping[str, str] = NOTHING) -> None:
    """The answer to a request whose body is not read, and the end of its connection."""
    content = json.dumps({"detail": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    headers += [(b"connection", b"close")] + ([(b"retry-after", b"1")] if status == 503 else [])
    headers += [(name.lower().encode(), value.encode()) for name, value in more.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": True})
    thrown = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S if status == 413 else 0):
            while thrown < LINGER_BYTES:
                message = await receive()
                thrown += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    break
    await send({"type": "http.response.body", "body": b"", "more_body": False})
