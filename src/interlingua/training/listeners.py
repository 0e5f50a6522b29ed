"""Who hears each epoch's record as a training goes: a tuner that may end it, a tracker that draws it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Listener = Callable[[str, Mapping[str, Any]], None]
"""(label of the training, e.g. ``train``; the epoch's record as in ``log.jsonl``). What it raises ends the training."""

_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """While the block runs, the listener hears every epoch that ends in it."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


def tell(label: str, record: Mapping[str, Any]) -> None:
    """Tells all listeners of an epoch that has ended."""
    for listener in _listeners.get():
        listener(label, record)
