"""Runs the application with uvicorn: connections that hold a place without a request are closed, SIGTERM drains.

uvicorn closes idle connections, but waits for ever for the rest of a request that has begun, and for a client that
does not read. Here a clock goes over all connections.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from interlingua.serve.limits import ServeLimits
from interlingua.serve.queue import WorkQueue
from interlingua.serve.workers import Worker

MAX_HEAD = 64 << 10
"""bytes of a request's line and headers; a connection that sends more is closed"""
MAX_PIPELINED = 16
"""requests that one connection may send before the first is answered; with more it is closed"""
SWITCH_S = 0.001
"""after which a thread that computes in Python lets others have their turn: what waits for the network waits no longer
than a few of these"""
LAST_STEP_S = 2.0
"""seconds that a step of the model may still take when everything else has ended"""


class Connection(HttpToolsProtocol):
    """One connection that knows since when it has been without a whole request, and since when nobody reads."""

    most = 512
    """open connections of one server"""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.headless_since: float | None = time.monotonic()
        self.unread: tuple[int, float] = (0, time.monotonic())
        self.head = 0
        """bytes that came without completing a request's headers"""

    @property
    def waits(self) -> bool:
        """Whether no request is being read or answered."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def connection_made(self, transport: Any) -> None:
        """Makes room where there are too many."""
        super().connection_made(transport)
        if len(self.connections) <= self.most:
            return
        open_ones = [c for c in self.connections if isinstance(c, Connection) and not c.transport.is_closing()]
        if len(open_ones) > self.most:
            idle = [c for c in open_ones if c.waits and c is not self]
            min(idle, key=lambda c: c.headless_since or time.monotonic(), default=self).transport.abort()

    def data_received(self, data: bytes) -> None:
        """Starts the clock at the first byte of a request, and ends it when its headers are there."""
        if self.waits and self.headless_since is None:
            self.headless_since = time.monotonic()
        before = self.cycle
        in_body = before is not None and before.more_body  # its last bytes are no headers either
        super().data_received(data)
        if self.cycle is not before and not self.waits:
            self.headless_since = None
        in_body = in_body or (self.cycle is not None and self.cycle.more_body)
        self.head = 0 if in_body or self.cycle is not before else self.head + len(data)
        if self.head > MAX_HEAD or len(self.pipeline) > MAX_PIPELINED:
            self.transport.abort()

    def on_response_complete(self) -> None:
        """An answered connection is idle until the next byte; uvicorn's own clock closes it then."""
        self.headless_since = None
        super().on_response_complete()

    def sweep(self, now: float, limits: ServeLimits) -> None:
        """Closes this connection if its time is up."""
        if self.waits and self.headless_since is not None and now - self.headless_since > limits.head_s:
            self.transport.abort()
            return
        size = int(self.transport.get_write_buffer_size())
        if not size or size != self.unread[0]:
            self.unread = (size, now)
        elif now - self.unread[1] > limits.idle_s:
            self.transport.abort()


class Server(uvicorn.Server):
    """uvicorn's server with a clock over its connections; a signal to stop empties the line of requests."""

    def __init__(
        self, config: uvicorn.Config, limits: ServeLimits, queue: WorkQueue, worker: Worker | None = None
    ) -> None:
        super().__init__(config)
        self.limits, self.queue, self.worker = limits, queue, worker

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or Ctrl-C: no more requests; those that wait are sent away, the one in work has its time."""
        logging.getLogger("uvicorn.error").info("stopping: at most %g s for what is in work", self.limits.drain_s)
        self.queue.close()
        drained = threading.Timer(self.limits.drain_s, self.queue.stop)
        drained.daemon = True
        drained.start()
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if self.worker is not None:
            self.worker.tell(not self.should_exit)
            if self.worker.orphaned and not self.should_exit:
                self.handle_exit(signal.SIGTERM, None)
        if counter % 5 == 0:
            now = time.monotonic()
            for connection in [c for c in self.server_state.connections if isinstance(c, Connection)]:
                connection.sweep(now, self.limits)
        return bool(await super().on_tick(counter))


def server_of(
    app: Any, queue: WorkQueue, limits: ServeLimits, host: str, port: int, worker: Worker | None = None, **more: Any
) -> Server:
    """A server that can be run, also in a thread (tests)."""
    protocol = type("Connection", (Connection,), {"most": limits.connections})
    config = uvicorn.Config(
        app, host=host, port=port, http=protocol, ws="none", timeout_keep_alive=max(1, round(limits.idle_s)),
        timeout_graceful_shutdown=math.ceil(limits.drain_s + LAST_STEP_S), backlog=min(2048, 4 * limits.connections),
        **more,
    )  # fmt: skip
    return Server(config, limits, queue, worker)


def run(
    app: Any, queue: WorkQueue, limits: ServeLimits, host: str, port: int, worker: Worker | None = None, **more: Any
) -> None:
    """Serves until a signal; returns at most ``drain_s`` and a few seconds after it. ``more``: options of uvicorn."""
    sys.setswitchinterval(SWITCH_S)
    try:
        server = server_of(app, queue, limits, host, port, worker, **more)
        server.run(None if worker is None else [worker.listening])
    finally:  # uvicorn raises the signal once more at its end
        if not queue.stop(LAST_STEP_S):  # a step of the model that does not end is not waited for
            logging.getLogger("uvicorn.error").warning("the model is still at work; leaving it")
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(128 + signal.SIGTERM)
