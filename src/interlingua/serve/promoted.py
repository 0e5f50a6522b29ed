"""Follows a store while the service runs: promoted versions are loaded beside the traffic and swapped in.

A thread looks once a second. A version is loaded and warmed there, and serves with one assignment
(:mod:`interlingua.serve.model`); where it cannot be loaded, the former one goes on; ``/health/ready`` says which and
the error's kind, and the log why. Items that other processes change are taken in through the line of requests, as
changes over HTTP are.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from interlingua.errors import ConfigError, first_line
from interlingua.life.observed import opened
from interlingua.life.request_log import RequestLog
from interlingua.life.versions import enter, folder_of, named, open_store, served
from interlingua.recommender import Recommender
from interlingua.runtime.cancel import Cancellation, Cancelled
from interlingua.serve.model import ServedModel
from interlingua.serve.queue import BusyError, WorkQueue

if TYPE_CHECKING:
    from interlingua.store import Store

EVERY_S = 1.0
"""between two looks at the store"""
AGAIN_S = 60.0
"""after which a version that could not be loaded is tried again"""
Load = Callable[[Path], Recommender]
"""opens the run of a version, with the same store"""
LOG = logging.getLogger("uvicorn.error")


class Promoted:
    """What runs beside a :class:`ServedModel` and keeps it at the promoted version."""

    def __init__(self, model: ServedModel, store: Store, load: Load, *, pinned: bool = False) -> None:
        """``pinned``: promotions are not followed, items are."""
        self.model, self.store, self.load, self.pinned = model, store, load, pinned
        self._stop = Event()
        self._thread: Thread | None = None
        self._promotions, self._items, self._again = -1, int(store.counters()["items"]), 0.0
        self._silent_since: float | None = None

    def start(self, line: WorkQueue) -> None:
        """Begins to look; called in the event loop of the service."""
        loop = asyncio.get_running_loop()
        self._thread = Thread(target=self._run, args=(line, loop), name="promotions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Looks no more; what is being loaded is not waited for."""
        self._stop.set()

    def look(self) -> None:
        """Takes in a promotion since the last look.

        Raises:
            StoreError: the store does not answer.
        """
        if self.pinned:
            return
        newest = int(self.store.counters()["promotions"])
        if newest <= self._promotions and not (self.model.problem and time.monotonic() >= self._again):
            return
        promoted = served(self.store)
        if promoted is None or promoted.version == self.model.now.version:
            self._promotions, self.model.problem = newest, None
            return
        LOG.info("loading version %s from %s", promoted.version, promoted.path)
        try:
            made = self.load(Path(promoted.path))
            if made.version != promoted.version:
                raise ConfigError(f"{promoted.path} holds version {made.version}")
            before = self.model.swap(made)
        except Exception as error:  # whatever it is, the former version goes on
            said = f"version {promoted.version} is promoted and does not serve"
            LOG.warning("%s: %s; %s goes on", said, first_line(error), self.model.now.version)
            self._again = time.monotonic() + AGAIN_S
            self.model.problem = f"{said}: {type(error).__name__}"  # anybody may read it: no folder of the server
        else:
            LOG.info("version %s serves, %s no more", made.version, before.version)
        self._promotions = newest

    def _run(self, line: WorkQueue, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stop.wait(EVERY_S):
            try:
                self.look()
                self._follow_items(line, loop)
            except Exception as error:
                if self._silent_since is None:
                    LOG.warning("promotions are not seen for now: %s", first_line(error))
                self._silent_since = self._silent_since or time.monotonic()
            else:
                self._silent_since = None

    def _follow_items(self, line: WorkQueue, loop: asyncio.AbstractEventLoop) -> None:
        """Items of other processes; where the line is full, the next look tries again."""
        newest = int(self.store.counters()["items"])
        if newest <= self._items:
            return
        cancellation = Cancellation(line.deadline_s)
        work = line.do(lambda: self.model.change(lambda now: now.follow_items()), cancellation, alone=True)
        try:
            asyncio.run_coroutine_threadsafe(work, loop).result()
        except (BusyError, Cancelled, CancelledError):
            return
        self._items = newest


def model_of(
    options: dict[str, Any], run: Path | None, place: str | None, *, pin: bool = False, log_requests: float = 0.0,
    interleave: str | None = None,
) -> ServedModel:  # fmt: skip
    """The recommender with which ``interlingua serve`` begins.

    Args:
        options: of :meth:`interlingua.recommender.Recommender.load`.
        run: see :func:`served_model`.
        place: of the store, if there is one.
        pin: see :func:`served_model`.
        log_requests: fraction of the users whose requests are logged.
        interleave: version, or folder, whose items are interleaved with those of what serves.

    Raises:
        ConfigError: neither a run nor a store with a promoted one, or something that needs a store.
    """
    if place is not None:
        store = open_store(place, make=run is not None)
        options = {**options, "store": store}
        log = RequestLog(store, log_requests) if log_requests or interleave else None
        rival = None if interleave is None else Recommender.load(folder_of(interleave, store), **options)
        if log is None:
            return served_model(store, lambda path: Recommender.load(path, **options), run, pin=pin)
        model = served_model(store, lambda path: opened(path, log, rival, options), run, pin=pin)
        model.companions.append(log)
        return model
    if run is None or pin or log_requests or interleave:
        raise ConfigError(
            "name a run (interlingua serve RUN), or a store with a promoted one (--store); --pin takes both, and "
            "--log-requests and --interleave need a store"
        )
    return ServedModel(Recommender.load(run, **options))


def served_model(store: Store, load: Load, run: Path | None = None, *, pin: bool = False) -> ServedModel:
    """The recommender with which a service on a store begins, and what keeps it up to date.

    Args:
        store: whose promotions decide.
        load: opens a run, with the same store.
        run: a run that the store does not know yet is entered and promoted. Of a known one nothing happens: the
            promoted version serves, also after a restart with the same command.
        pin: ``run`` serves, whatever is promoted.

    Raises:
        ConfigError: no run, and none is promoted.
        ArtifactError: the promoted run cannot be opened: at the start there is no former one.
    """
    if run is None and (pin or served(store) is None):
        raise ConfigError(
            f"no version is promoted in {store.place}; name a run (interlingua serve RUN --store ...), which is "
            "promoted by that, or promote one: interlingua promote RUN --store ..."
        )
    model = ServedModel(_first(store, load, run, pin), store)
    model.companions.append(Promoted(model, store, load, pinned=pin))
    return model


def _first(store: Store, load: Load, run: Path | None, pin: bool) -> Recommender:
    if run is None:
        return load(Path(_promoted_path(store)))
    made = load(run)
    if pin:
        return made
    known = {model.version for model in store.models()}
    promoted = served(store)
    if made.version not in known or promoted is None:
        enter(store, run, "served by name")
        store.promote(made.version)
        return made
    if promoted.version == made.version:
        return made
    LOG.warning(
        "version %s is promoted in the store and serves, not %s; roll back, or serve it with --pin",
        promoted.version, made.version,
    )  # fmt: skip
    return load(Path(promoted.path))


def _promoted_path(store: Store) -> str:
    return named(store, store.promotions()[-1]).path
