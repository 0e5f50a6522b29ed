"""What the service counts, for Prometheus, with its own client library. No user, item or key is among the labels."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, Info

from interlingua.serve.keys import RANK, Role
from interlingua.serve.summing import exposition

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
WAITING_S = (0.001, *BUCKETS_S)
CONTENT_TYPE = CONTENT_TYPE_LATEST
"""of :meth:`Counts.text`"""
NO_KEY = "none"
"""the role of who has no key"""


class Counts:
    """Counters of one application; two in one process count apart. Any thread may add."""

    def __init__(self, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        self._version = version
        self._model = Info("interlingua", "The model that answers.", registry=registry)
        self._swaps = Counter("interlingua_model_swaps", "Times that another model took over.", registry=registry)
        self._model.info({"model_version": version})
        self._requests = Counter("interlingua_requests", "Answered requests.", ("route", "status"), registry=registry)
        self._roles = Counter(
            "interlingua_requests_by_role", "Answered requests by the role of the key.", ("role",), registry=registry
        )
        self._limited = Counter(
            "interlingua_rate_limited", "Requests refused as too many, by the role of the key.", ("role",),
            registry=registry,
        )  # fmt: skip
        for role in (*RANK, NO_KEY):
            self._roles.labels(role)
            self._limited.labels(role)
        self._seconds = Histogram(
            "interlingua_request_seconds", "Time from a request's first byte to the answer's last.", ("route",),
            buckets=BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._waiting = Gauge("interlingua_queue_length", "Requests that wait for the model.", registry=registry)
        self._waited = Histogram(
            "interlingua_queue_seconds", "Time that a request waited for the model.", buckets=WAITING_S,
            registry=registry,
        )  # fmt: skip
        self._items = Counter(
            "interlingua_items", "Items put in, changed and taken out while it ran.", ("change",), registry=registry
        )
        self._events = Counter("interlingua_events", "Events entered while it ran.", registry=registry)

    def model(self, version: str) -> None:
        """Which model answers from now on."""
        if version != self._version:
            self._swaps.inc()
        self._version = version
        self._model.info({"model_version": version})

    def add(self, route: str, status: int, seconds: float, role: Role | None = None) -> None:
        """One answered request."""
        self._requests.labels(route, str(status)).inc()
        self._roles.labels(role or NO_KEY).inc()
        self._seconds.labels(route).observe(seconds)

    def limited(self, role: Role | None) -> None:
        """One request that was refused as too many."""
        self._limited.labels(role or NO_KEY).inc()

    def queue(self, length: Callable[[], float]) -> None:
        """Where the number of waiting requests is read, whenever somebody looks."""
        self._waiting.set_function(length)

    def waited(self, seconds: float) -> None:
        """One request has come from the queue to the model."""
        self._waited.observe(seconds)

    def items(self, added: int = 0, updated: int = 0, removed: int = 0) -> None:
        """Items were put in, changed, taken out."""
        for change, number in {"added": added, "updated": updated, "removed": removed}.items():
            self._items.labels(change).inc(number)

    def events(self, added: int) -> None:
        """Events were entered."""
        self._events.inc(added)

    def text(self) -> bytes:
        """All counters in the Prometheus text format."""
        return exposition(self.registry)
