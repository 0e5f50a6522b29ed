"""The recommender that serves now. Everything in the service asks for it anew; to swap it is one assignment.

A request takes :attr:`ServedModel.now` once and ends with it; the next one may have another. No request waits for a
swap, and none fails by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from interlingua.recommender import Recommender

if TYPE_CHECKING:
    from interlingua.serve.counts import Counts
    from interlingua.serve.queue import WorkQueue
    from interlingua.store import Store

T = TypeVar("T")


class Companion(Protocol):
    """Something that runs while the service does, in a thread of its own."""

    def start(self, line: WorkQueue) -> None:
        """Begins; called in the event loop."""
        ...

    def stop(self) -> None:
        """Ends soon, without being waited for."""
        ...


class ServedModel:
    """See the module. The application, its routes and whoever swaps share one object."""

    def __init__(self, recommender: Recommender, store: Store | None = None) -> None:
        """``store``: whose versions it is one of, if any."""
        self._now, self.store = recommender, store
        self._changing = Lock()
        self.since = time.time()
        """seconds since 1970: when the present recommender began to serve"""
        self.problem: str | None = None
        """which promoted version does not serve, and the error's kind; the log says why. None: it does"""
        self.companions: list[Companion] = []
        """what runs with the service"""
        self.training: Callable[[], dict[str, Any]] | None = None
        """says how a training beside the service is (:mod:`interlingua.serve.training`)"""
        self._counts: Counts | None = None

    @staticmethod
    def of(given: Recommender | ServedModel) -> ServedModel:
        """What is given, or a new holder of it."""
        return given if isinstance(given, ServedModel) else ServedModel(given)

    @property
    def now(self) -> Recommender:
        """Take it once for a request: the next look may find another."""
        return self._now

    @property
    def folders(self) -> list[Path]:
        """Of the server, that no client is told."""
        runs = self._now.session.path.parent
        return [runs, runs.resolve()]

    @contextmanager
    def running(self, line: WorkQueue) -> Iterator[None]:
        """While the service runs: the recommender is warm, and what is beside it has begun."""
        warm(self._now)
        for each in self.companions:
            each.start(line)
        try:
            yield
        finally:
            for each in self.companions:
                each.stop()

    def count(self, counts: Counts) -> None:
        """Has the version that serves said in the metrics, now and after each swap."""
        self._counts = counts
        counts.model(self._now.version)

    def change(self, make: Callable[[Recommender], T]) -> T:
        """A change of items or events on the recommender that serves; a swap waits for its end, and has it."""
        with self._changing:
            return make(self._now)

    def swap(self, recommender: Recommender) -> Recommender:
        """Lets another recommender serve from now on; returns the one that did.

        It is warmed before, and has what reached the store while it was loaded. Without a store it knows nothing of
        the items and events that the former one was given.
        """
        warm(recommender)
        with self._changing:
            recommender.follow_items()
            before, self._now = self._now, recommender
            self.since, self.problem = time.time(), None
        if self._counts is not None:
            self._counts.model(recommender.version)
        return before


def warm(recommender: Recommender) -> None:
    """Asks once, so that the first request finds everything loaded."""
    Recommender.answer(recommender, None, [], 1)
    two = [(None, [str(item)]) for item in recommender.train.item_ids[:2]]
    Recommender.answers(recommender, two, 1, rerank=False)  # by the class: nobody sent these, so no log has them
    recommender.load_encoders()
    _: Any = (recommender.train.user_indices, recommender.train.item_indices)  # made now, not in a request
