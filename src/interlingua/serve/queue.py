"""The model is used by one thread at a time; requests wait for it in a line of bounded length, until their deadline."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from interlingua.runtime.cancel import Cancellation, Cancelled, cancellable

T = TypeVar("T")


class BusyError(Exception):
    """A request that is not answered; it has the time for another try."""

    def __init__(self, status: int, reason: str, retry_after: int) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after = status, reason, retry_after


@dataclass
class _Job:
    work: Callable[[], Any]
    cancellation: Cancellation
    alone: bool = False
    """nothing else may use the model meanwhile"""
    answer: Future[Any] = field(default_factory=Future)


class WorkQueue:
    """One worker thread and the requests that wait for it."""

    def __init__(self, places: int, deadline_s: float) -> None:
        """Starts nothing; the thread begins with the first request.

        Args:
            places: requests that may wait, besides the one in work.
            deadline_s: seconds until a request is given up, waiting included.
        """
        self.places, self.deadline_s = places, deadline_s
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._working: _Job | None = None
        self._closed = False
        self._seconds = 0.0
        self._thread: threading.Thread | None = None
        self._exclusive = threading.Lock()
        self._wants_it = False
        self.changes = 0
        """how many works were done alone"""

    @property
    def closed(self) -> bool:
        """No request is taken any more."""
        return self._closed

    @property
    def waiting(self) -> int:
        """Requests that wait now."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Nothing is in work, nothing waits."""
        with self._changed:
            return self._working is None and not self._waiting

    async def do(self, work: Callable[[], T], cancellation: Cancellation, *, alone: bool = False) -> T:
        """The result of ``work``, run in the worker thread.

        Args:
            work: calls :func:`interlingua.runtime.cancel.check` between its steps.
            cancellation: given up by the caller when the client goes, and here at the deadline.
            alone: also nobody who holds :meth:`enter` uses the model meanwhile: it changes what answers are made of.

        Raises:
            BusyError: no place in the line (429), the deadline passed or the service stops (503).
            Cancelled: the caller gave up.
        """
        job = _Job(work, cancellation, alone)
        self._enter(job)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job.answer), cancellation.remaining())
        except (TimeoutError, Cancelled) as error:
            if self._closed:
                raise BusyError(503, "the service stops", self.retry_after()) from None
            if isinstance(error, TimeoutError) or cancellation.remaining() == 0:  # a loop's clock may be early
                raise self.late() from None
            raise
        finally:
            self.leave(job.cancellation)

    def leave(self, cancellation: Cancellation) -> None:
        """Gives a request up: out of the line, or to be stopped at its next step."""
        cancellation.cancel()
        with self._changed:
            gone = [job for job in self._waiting if job.cancellation is cancellation]
            for job in gone:
                self._waiting.remove(job)
        for job in gone:
            _settle(job.answer, error=Cancelled())

    def retry_after(self) -> int:
        """Whole seconds after which a place may be free: what is in the line, at the usual pace."""
        with self._changed:
            ahead = len(self._waiting) + (self._working is not None)
            return max(1, min(math.ceil(ahead * self._seconds), math.ceil(self.deadline_s)))

    def close(self) -> None:
        """Takes no more requests and sends away those that wait; the one in work goes on. Safe in a signal handler."""
        self._closed = True
        threading.Thread(target=self._send_away, daemon=True).start()  # a lock may be held by the interrupted code

    def stop(self, seconds: float = 0.0) -> bool:
        """Ends the worker: the request in work is stopped at its next step. False: it has not reached one in time."""
        self._closed = True
        self._send_away()
        with self._changed:
            working = self._working
            self._changed.notify_all()
        if working is not None:
            working.cancellation.cancel()
            _settle(working.answer, error=Cancelled())  # whoever waits is told now, not at the next step
        if self._thread is not None:
            self._thread.join(seconds)
        return self._thread is None or not self._thread.is_alive()

    def late(self) -> BusyError:
        """For a request whose deadline has passed."""
        said = f"not answered within {self.deadline_s:g} s; try again later, or ask for fewer reasons (explain)"
        return BusyError(503, said, self.retry_after())

    def enter(self) -> bool:
        """Takes the model for answers beside the worker's, until :meth:`exit`; False: it is being changed now."""
        return not self._wants_it and self._exclusive.acquire(blocking=False)

    def exit(self) -> None:
        """The end of :meth:`enter`; in any thread."""
        self._exclusive.release()

    def _enter(self, job: _Job) -> None:
        with self._changed:
            full = len(self._waiting) + (self._working is not None) > self.places
            if not self._closed and not full:
                self._waiting.append(job)
                self._changed.notify()
        if self._closed:
            raise BusyError(503, "the service stops", 1)
        if full:
            raise BusyError(429, f"{self.places} requests wait already; try again later", self.retry_after())
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="model", daemon=True)
            self._thread.start()

    def _send_away(self) -> None:
        with self._changed:
            jobs, self._waiting = list(self._waiting), deque()
            self._changed.notify_all()
        for job in jobs:
            _settle(job.answer, error=Cancelled())

    def _work(self) -> None:
        while (job := self._next()) is not None:
            started = time.monotonic()
            try:
                with cancellable(job.cancellation), self._alone(job):
                    result = job.work()
            except BaseException as error:
                _settle(job.answer, error=error)
            else:
                _settle(job.answer, result)
            with self._changed:
                self._working = None
                taken = time.monotonic() - started
                self._seconds = taken if not self._seconds else 0.8 * self._seconds + 0.2 * taken

    @contextmanager
    def _alone(self, job: _Job) -> Iterator[None]:
        if not job.alone:
            yield
            return
        self._wants_it = True
        try:
            with self._exclusive:
                yield
                self.changes += 1
        finally:
            self._wants_it = False

    def _next(self) -> _Job | None:
        """The next request that is still wanted; None: the service stops."""
        with self._changed:
            while True:
                while self._waiting:
                    job = self._waiting.popleft()
                    if not job.cancellation.cancelled:
                        self._working = job
                        return job
                    _settle(job.answer, error=Cancelled())
                if self._closed:
                    return None
                self._changed.wait()


def _settle(answer: Future[Any], result: object = None, error: BaseException | None = None) -> None:
    """Sets a future that may have been given up or settled meanwhile."""
    with suppress(InvalidStateError):
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)
