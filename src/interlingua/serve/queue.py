"""The line in front of the model: of bounded length, until a deadline, worked off by one thread.

Requests that wait for the same kind of work (prompts of a language model) are done together. Whoever goes leaves the
line; work in progress ends at its next step when nobody wants it any more.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from interlingua.runtime.cancel import Cancellation, Cancelled, cancellable

T = TypeVar("T")
MOST = 16
"""requests whose work is done together"""


class BusyError(Exception):
    """A request that is not answered; it has the time for another try."""

    def __init__(self, status: int, reason: str, retry_after: int) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after = status, reason, retry_after


@dataclass(frozen=True)
class Together:
    """Work that one call does for several requests."""

    key: Hashable
    """equal for requests that go together"""
    work: Callable[[Sequence[Any]], Sequence[Any]]
    """(B) what requests bring -> (B) results"""
    own: Any
    """what this request brings"""


@dataclass
class _Job:
    work: Callable[[], Any]
    cancellation: Cancellation
    alone: bool = False
    """nothing else may use the model meanwhile"""
    together: Together | None = None
    answer: Future[Any] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class _All(Cancellation):
    """That of several requests: their work is wanted as long as one of them is."""

    def __init__(self, parts: Sequence[Cancellation]) -> None:
        super().__init__()
        self.parts = parts

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants it any more."""
        return self._given_up or all(part.cancelled for part in self.parts)


class WorkQueue:
    """One worker thread and the requests that wait for it."""

    def __init__(self, places: int, deadline_s: float) -> None:
        """Starts nothing; the thread begins with the first request.

        Args:
            places: requests that may wait, besides the one in work.
            deadline_s: seconds until a request is given up, waiting included.
        """
        self.places, self.deadline_s = places, deadline_s
        self.waited: Callable[[float], None] = lambda seconds: None
        """is called with the seconds that a request waited, when its turn has come"""
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._working: list[_Job] = []
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
            return not self._working and not self._waiting

    async def do(
        self, work: Callable[[], T], cancellation: Cancellation, *, alone: bool = False,
        together: Together | None = None, spare_s: float = 0.0,
    ) -> T:  # fmt: skip
        """The result of ``work``, run in the worker thread.

        Args:
            work: calls :func:`interlingua.runtime.cancel.check` between its steps.
            cancellation: given up by the caller when the client goes, and here at the deadline.
            alone: also nobody who holds :meth:`enter` uses the model meanwhile: it changes what answers are made of.
            together: does the same for several requests at once, where others with an equal key wait too.
            spare_s: so long before the deadline the request is given up, for what else can be done then.

        Raises:
            BusyError: no place in the line (429), the deadline passed or the service stops (503).
            Cancelled: the caller gave up.
        """
        job = _Job(work, cancellation, alone, together)
        self._enter(job)
        left = cancellation.remaining()
        try:
            most = None if left is None else max(0.0, left - spare_s)
            return await asyncio.wait_for(asyncio.wrap_future(job.answer), most)
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
            ahead = len(self._waiting) + len(self._working)
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
            working = list(self._working)
            self._changed.notify_all()
        for job in working:
            job.cancellation.cancel()
            _settle(job.answer, error=Cancelled())  # whoever waits is told now, not at the next step
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

    def check_place(self) -> None:
        """Raises: BusyError: no place in the line (429)."""
        if self._full:
            raise self._no_place()

    @property
    def _full(self) -> bool:
        return len(self._waiting) + bool(self._working) > self.places

    def _no_place(self) -> BusyError:
        return BusyError(429, f"{self.places} requests wait already; try again later", self.retry_after())

    def _enter(self, job: _Job) -> None:
        with self._changed:
            full = self._full
            if not self._closed and not full:
                self._waiting.append(job)
                self._changed.notify()
        if self._closed:
            raise BusyError(503, "the service stops", 1)
        if full:
            raise self._no_place()
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
        give_way()
        while jobs := self._next():
            started = time.monotonic()
            if len(jobs) == 1 or not self._done_together(jobs):
                for job in jobs:
                    self._done(job)
            with self._changed:
                self._working = []
                taken = (time.monotonic() - started) / len(jobs)
                self._seconds = taken if not self._seconds else 0.8 * self._seconds + 0.2 * taken

    def _done(self, job: _Job) -> None:
        try:
            with cancellable(job.cancellation), self._alone(job):
                result = job.work()
        except BaseException as error:
            _settle(job.answer, error=error)
        else:
            _settle(job.answer, result)

    def _done_together(self, jobs: Sequence[_Job]) -> bool:
        """False: one of them is wrong, and each is to be done by itself."""
        parts = [job.together for job in jobs if job.together is not None]
        try:
            with cancellable(_All([job.cancellation for job in jobs])):
                results = parts[0].work([part.own for part in parts])
        except Cancelled:
            results = [Cancelled()] * len(jobs)
        except Exception:
            return False
        for job, result in zip(jobs, results, strict=True):
            failed = isinstance(result, Cancelled)
            _settle(job.answer, error=result) if failed else _settle(job.answer, result)
        return True

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

    def _next(self) -> list[_Job]:
        """The next request that is still wanted, with those that go together with it; none: the service stops."""
        with self._changed:
            while True:
                while self._waiting:
                    job = self._waiting.popleft()
                    if not job.cancellation.cancelled:
                        self._working = [job, *self._companions(job)]
                        for each in self._working:
                            self.waited(time.monotonic() - each.since)
                        return self._working
                    _settle(job.answer, error=Cancelled())
                if self._closed:
                    return []
                self._changed.wait()

    def _companions(self, first: _Job) -> list[_Job]:
        """Those that wait for the same work, out of the line: so many that all are done long before their deadlines."""
        if first.together is None:
            return []
        most = MOST if not self._seconds else max(1, min(MOST, int(self.deadline_s / 4 / self._seconds)))
        same = [
            job
            for job in self._waiting
            if job.together is not None and job.together.key == first.together.key and not job.cancellation.cancelled
        ][: most - 1]
        for job in same:
            self._waiting.remove(job)
        return same


def give_way(by: int = 5) -> None:
    """Lets others of the machine go before the calling thread, and before those that it starts."""
    with suppress(OSError, AttributeError):  # not every system has a priority for each thread
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), by)


def _settle(answer: Future[Any], result: object = None, error: BaseException | None = None) -> None:
    """Sets a future that may have been given up or settled meanwhile."""
    with suppress(InvalidStateError):
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)
