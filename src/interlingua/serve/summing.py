"""What ``/metrics`` shows: the counts of this process, or where several serve together the sum of all."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from interlingua.serve.workers import METRICS


class _Summed:
    """The counts of all processes; no gauge: each process that is asked knows those of all."""

    def __init__(self) -> None:
        self.files = MultiProcessCollector(CollectorRegistry())

    def collect(self) -> list[Metric]:
        return [each for each in self.files.collect() if each.type != "gauge"]


class _Unsummed:
    """The metrics of a registry that say what something is, or are a sum already."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

    def collect(self) -> list[Metric]:
        return [each for each in self.registry.collect() if each.type in ("info", "gauge")]


def exposition(registry: CollectorRegistry) -> bytes:
    """The text format; ``registry``: of this process's application."""
    if METRICS not in os.environ:
        return generate_latest(registry)
    whole = CollectorRegistry()
    whole.register(_Summed())
    whole.register(_Unsummed(registry))
    return generate_latest(whole)
