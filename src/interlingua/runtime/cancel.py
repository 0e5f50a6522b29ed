"""Stops work between two of its steps, if its client has gone or its time is up.

Long work calls :func:`check` at each step (a forward pass of a language model, a block of scores). Outside of
:func:`cancellable` that does nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Cancelled(Exception):  # noqa: N818 (nothing went wrong)
    """The work was cancelled; its results are dropped."""


class Cancellation:
    """Whether one piece of work is still wanted. May be set from any thread."""

    def __init__(self, seconds: float | None = None) -> None:
        """Wanted for so many seconds from now on; None: for ever."""
        self.seconds, self.deadline = seconds, None if seconds is None else time.monotonic() + seconds
        self._given_up = False

    def cancel(self) -> None:
        """Cancels the work: its result is no longer needed."""
        self._given_up = True

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled, or its time is up."""
        return self._given_up or (self.deadline is not None and time.monotonic() >= self.deadline)

    def remaining(self) -> float | None:
        """Seconds that are left, at least 0; None: no limit."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


_current: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)


@contextmanager
def cancellable(cancellation: Cancellation) -> Iterator[None]:
    """What runs inside, in this thread, ends with :class:`Cancelled` at the first step after it was given up."""
    token = _current.set(cancellation)
    try:
        yield
    finally:
        _current.reset(token)


def pressed() -> bool:
    """Whether more than half of the time of the work in this thread is over: what can be left out should be."""
    cancellation = _current.get()
    if cancellation is None or cancellation.seconds is None:
        return False
    return (cancellation.remaining() or 0.0) < 0.5 * cancellation.seconds


def check() -> None:
    """One step of long work.

    Raises:
        Cancelled: its result is not wanted any more.
    """
    cancellation = _current.get()
    if cancellation is not None and cancellation.cancelled:
        raise Cancelled
