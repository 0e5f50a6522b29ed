"""Request counts and latencies for Prometheus, with its own client library."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, Info, generate_latest

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CONTENT_TYPE = CONTENT_TYPE_LATEST
"""of :meth:`Counts.text`"""


class Counts:
    """Counters of one application; two in one process count apart. Any thread may add."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self._model = Info("interlingua", "The model that answers.", registry=self.registry)
        self.model(version)
        self._requests = Counter(
            "interlingua_requests", "Answered requests.", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "interlingua_request_seconds", "Time from a request's first byte to the answer's last.", ("route",),
            buckets=BUCKETS_S, registry=self.registry,
        )  # fmt: skip

    def model(self, version: str) -> None:
        """Another model answers from now on."""
        self._model.info({"model_version": version})

    def add(self, route: str, status: int, seconds: float) -> None:
        """One answered request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All counters in the Prometheus text format."""
        return generate_latest(self.registry)
