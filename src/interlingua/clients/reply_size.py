"""Limits the size of a server's reply while it arrives: no reply fills the memory, compressed or not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any

MEGABYTE = 1 << 20
_limit: ContextVar[int] = ContextVar("limit", default=4 * MEGABYTE)


class ReplySizeError(Exception):
    """A reply that is too large to read."""


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Limits the bytes of replies inside this context."""
    token = _limit.set(size)
    try:
        yield
    finally:
        _limit.reset(token)


async def bounded(response: Any) -> None:
    """Hook of an httpx client (either version), called when headers are there and the body is not.

    Raises:
        ReplySizeError: the body is announced larger than allowed, or compressed although that was not asked for (a few
            kilobytes can be gigabytes then).
    """
    limit = _limit.get()
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise ReplySizeError(f"the reply is compressed ({encoding[:20]!r}), which was not asked for")
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and len(announced) < 20 and int(announced) > limit:
        raise ReplySizeError(f"the reply has {int(announced):,} bytes, more than {limit:,}")
    response.stream = _counted(response, limit)


def _counted(response: Any, limit: int) -> Any:
    """The response's stream of bytes, which ends in an error behind ``limit``."""
    stream = response.stream
    base = import_module(type(response).__module__.partition(".")[0]).AsyncByteStream

    class Counted(base):  # type: ignore[misc, valid-type]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for part in stream:
                size += len(part)
                if size > limit:
                    raise ReplySizeError(f"the reply has more than {limit:,} bytes")
                yield part

        async def aclose(self) -> None:
            await stream.aclose()

    return Counted()
