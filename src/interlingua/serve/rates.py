"""How many requests a key, or an address without one, may send: a token bucket each, in bounded memory.

By hand: libraries that count requests have windows, each with a storage and a clock; a bucket is two numbers.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from interlingua.errors import ConfigError, shown

SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
MOST = 10_000
"""buckets of one service; where one more is needed, the one that was asked longest ago is forgotten"""


@dataclass(frozen=True)
class Rate:
    """So many requests in so many seconds, and as many at once."""

    requests: int
    seconds: float

    @classmethod
    def parse(cls, text: str, where: str = "a rate") -> Rate:
        """Reads ``100/s``, ``600/min``, ``5000/h``.

        Raises:
            ConfigError: another form, or no request at all.
        """
        found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(s|min|h)\s*", text)
        if found is None or int(found[1]) == 0:
            raise ConfigError(f"{where} is {shown(text)}; write requests per time as 100/s, 600/min or 5000/h")
        return cls(int(found[1]), SECONDS[found[2]])

    def __str__(self) -> str:
        return f"{self.requests}/{next(unit for unit, seconds in SECONDS.items() if seconds == self.seconds)}"


class Takes(Protocol):
    """Where the tokens of callers are."""

    def take(self, caller: str, rate: Rate) -> float:
        """Takes a token; 0.0, or where there is none the seconds until there is one."""
        ...


class Buckets:
    """A bucket of tokens for each caller: full at first, a token per request, refilled evenly."""

    def __init__(self, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self.clock = most, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # caller -> (tokens, when)

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, caller: str, rate: Rate) -> float:
        """Takes a token; 0.0, or where there is none the seconds until there is one."""
        now = self.clock()
        tokens, wait = refilled(self._buckets.pop(caller, None), rate, now)
        self._buckets[caller] = (tokens, now)
        if len(self._buckets) > self.most:
            self._buckets.popitem(last=False)
        return wait


def refilled(before: tuple[float, float] | None, rate: Rate, now: float) -> tuple[float, float]:
    """(tokens that are left after this request, seconds until there is one for it; 0.0: there was one).

    Args:
        before: tokens and when; None: a new bucket, which is full.
        rate: of the caller.
        now: by the clock of ``before``.
    """
    full = float(rate.requests)
    tokens, when = before or (full, now)
    tokens = min(full, tokens + (now - when) * full / rate.seconds)
    missing = max(0.0, 1.0 - tokens)
    return (tokens if missing else tokens - 1.0), missing * rate.seconds / full
