"""Answered requests on their way into the store: in the background, bounded, of a fraction of the users.

No answer waits for it: where the store is slow or away, what does not fit into the line is dropped and counted. What is
kept is in :class:`interlingua.store.Logged`: who asked, with which options and history, and which items came out; never
a sentence (``text``): that one was said is noted, and that request is not replayed.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from interlingua.errors import first_line

if TYPE_CHECKING:
    from interlingua.store import Logged, Store

PLACES = 2_000
"""requests that wait to be written; more are dropped"""
AT_ONCE, EVERY_S = 500, 0.5
"""written in one transaction; a request waits so long for company"""
LARGEST = 1 << 16
"""characters of a request; a larger one (a long allow-list) is not logged"""
LAST_S = 2.0
"""for what waits when the service stops"""
LOG = logging.getLogger("interlingua.serve")


class RequestLog:
    """One writer for a service; its thread begins with the service and ends with it."""

    def __init__(self, store: Store, fraction: float) -> None:
        """A log of some users.

        Args:
            store: whose ``requests`` are written.
            fraction: of the users, always the same ones; requests without a user by chance.

        Raises:
            ConfigError: a fraction below 0 or above 1.
        """
        from interlingua.store import sampled

        sampled("", fraction)  # refuses it now, not at the first request
        self.store, self.fraction = store, fraction
        self.dropped = 0
        """requests that found no place, or that the store did not take"""
        self._waiting: Queue[Logged] = Queue(PLACES)
        self._stop = Event()
        self._thread: Thread | None = None
        self._sampled = sampled

    def start(self, line: Any) -> None:
        """Begins to write."""
        self._thread = Thread(target=self._run, name="requests", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Writes what waits, for a moment at most."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(LAST_S)

    def add(
        self, version: str, user: str | None, request: Mapping[str, Any], items: tuple[str, ...], seconds: float, *,
        always: bool = False,
    ) -> None:  # fmt: skip
        """Remembers an answered request, if it is one of those that are logged; returns at once.

        Args:
            version: that answered.
            user: who asked, if that was said.
            request: options and history.
            items: that came out.
            seconds: that it took.
            always: whoever asked (an interleaved list).
        """
        from interlingua.store import Logged

        if not always and not self._sampled(user, self.fraction):
            return
        if len(json.dumps(request, default=str)) > LARGEST:
            return
        try:
            self._waiting.put_nowait(Logged(version, user, request, items, 1000 * seconds, time.time()))
        except Full:
            self.dropped += 1

    def _run(self) -> None:
        while True:
            stopping = self._stop.wait(EVERY_S)
            while part := self._next():
                self._write(part)
            if stopping:
                return

    def _next(self) -> list[Logged]:
        found: list[Logged] = []
        while len(found) < AT_ONCE:
            try:
                found.append(self._waiting.get_nowait())
            except Empty:
                break
        return found

    def _write(self, part: list[Logged]) -> None:
        try:
            self.store.log_requests(part)
        except Exception as error:
            if not self.dropped:
                LOG.warning("requests are not logged for now: %s", first_line(error))
            self.dropped += len(part)
