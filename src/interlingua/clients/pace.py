"""Rate limits for a server: requests and tokens per minute, its requested pauses, and waits between tries."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable

from pydantic import Field

from interlingua.config import Config

MINUTE = 60.0


class Limits(Config):
    """Limits of requests to a server. They change no answer, so they are not part of a key."""

    concurrency: int = Field(default=8, ge=1)
    """calls in flight at one time"""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """at most this number of calls begin in any sixty seconds"""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """at most this number of tokens, prompts and answers together, in any sixty seconds"""
    timeout_s: float = Field(default=120.0, gt=0)
    """a call without a whole reply after this number of seconds is tried again"""
    tries: int = Field(default=6, ge=1)
    """calls at most for one question: rate limits, server errors, timeouts, dropped connections, unusable answers"""
    answer_tries: int = Field(default=3, ge=1)
    """answers at most for one question: those that are no usable JSON are asked for again"""
    give_up_after: int = Field(default=20, ge=1)
    """this number of consecutive failed questions stops the run: the server is down, or refuses everything"""
    backoff_s: float = Field(default=1.0, gt=0)
    """wait before the second try; it doubles with each further one"""
    backoff_max_s: float = Field(default=60.0, gt=0)
    """longest wait between two tries (a server's Retry-After may be longer, and is kept)"""
    retry_after_max_s: float = Field(default=600.0, ge=0)
    """a server that asks to wait longer than this stops the run; what is there is kept"""
    waiting_max_s: float = Field(default=3600.0, gt=0)
    """this time without a usable answer, waiting for the server, stops the run too"""


def backoff(tried: int, limits: Limits, retry_after: float | None, draw: Callable[[], float]) -> float:
    """Seconds to wait after ``tried`` failed calls.

    Exponential, with half of it random, so that calls which failed together do not return together; never less than
    the server asked for.

    Args:
        tried: 1 after the first failure.
        limits: first and longest wait.
        retry_after: what the server asked for, in seconds.
        draw: a random number in [0, 1).
    """
    step = min(limits.backoff_max_s, limits.backoff_s * 2.0 ** (tried - 1))
    own = step * (0.5 + 0.5 * draw())
    return own if retry_after is None else max(own, retry_after * (1 + 0.1 * draw()))


def delay(entries: deque[list[float]], now: float, tokens: float, limits: Limits) -> float:
    """Seconds until one more call of ``tokens`` fits; entries are [time, tokens] of the last minute, oldest first.

    A call larger than the whole limit fits when nothing else is in the minute: it would never run otherwise.
    """
    count, total, freed = len(entries), sum(entry[1] for entry in entries), now - MINUTE
    for when, used in entries:
        few = limits.requests_per_minute is None or count < limits.requests_per_minute
        room = limits.tokens_per_minute is None or total + tokens <= limits.tokens_per_minute
        if few and room:
            return 0.0 if count == len(entries) else freed + MINUTE - now
        count, total, freed = count - 1, total - used, when
    return freed + MINUTE - now


class WaitError(Exception):
    """The server wants to be waited for longer than is allowed; the message says how long, and which option."""


class Pace:
    """Lets calls begin when the limits allow it; shared by all calls of one server."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.limits = limits
        self._clock, self._sleep, self._draw = clock, sleep, draw
        self._entries: deque[list[float]] = deque()
        self._paused_until = 0.0
        self._fruitless_since: float | None = None
        self._turn = asyncio.Lock()

    def in_another_loop(self) -> Pace:
        """The same minute for the questions of a further event loop: a lock belongs to the loop that waited for it."""
        self._turn = asyncio.Lock()
        return self

    async def begin(self, tokens: float) -> list[float]:
        """Waits for a place and takes it; the entry's second number may be set to the true tokens afterwards."""
        async with self._turn:  # first come, first served
            while True:
                now = self._clock()
                while self._entries and self._entries[0][0] <= now - MINUTE:
                    self._entries.popleft()
                wait = max(self._paused_until - now, delay(self._entries, now, tokens, self.limits))
                if wait <= 0:
                    break
                await self._sleep(wait)
            entry = [self._clock(), float(tokens)]
            self._entries.append(entry)
            return entry

    async def after_failure(self, tried: int, retry_after: float | None) -> None:
        """Waits before the next try of one question; a server's Retry-After holds all questions back.

        Raises:
            WaitError: longer than the limits allow.
        """
        now, limits = self._clock(), self.limits
        if retry_after is not None and not retry_after <= limits.retry_after_max_s:
            raise WaitError(
                f"the server asks to wait {retry_after:,.0f} s, more than {limits.retry_after_max_s:g} s "
                "(limits.retry_after_max_s)"
            )
        wait = backoff(tried, limits, retry_after, self._draw)
        self._fruitless_since = now if self._fruitless_since is None else self._fruitless_since
        if (fruitless := now + wait - self._fruitless_since) > limits.waiting_max_s:
            raise WaitError(
                f"no usable answer in {fruitless:,.0f} s of waiting and trying, more than {limits.waiting_max_s:g} s "
                "(limits.waiting_max_s)"
            )
        if retry_after is not None:
            self._paused_until = max(self._paused_until, now + retry_after)
        await self._sleep(wait)

    def answered(self) -> None:
        """A usable answer came: the server is worth waiting for."""
        self._fruitless_since = None
