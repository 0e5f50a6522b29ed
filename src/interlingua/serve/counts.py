"""Request counts and latencies in the Prometheus text format, without a client library."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from threading import Lock

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Counts:
    """Thread-safe counters of one process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._latency: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def add(self, route: str, status: int, seconds: float) -> None:
        """One answered request."""
        with self._lock:
            self._requests[route, status] += 1
            buckets = self._latency.setdefault(route, [0] * (len(BUCKETS_S) + 1))
            buckets[bisect_left(BUCKETS_S, seconds)] += 1
            self._seconds[route] = self._seconds.get(route, 0.0) + seconds

    def text(self, version: str) -> str:
        """All counters, one sample per line."""
        with self._lock:
            lines = [
                "# TYPE interlingua_info gauge",
                f'interlingua_info{{model_version="{version}"}} 1',
                "# TYPE interlingua_requests_total counter",
            ]
            for (route, status), count in sorted(self._requests.items()):
                lines.append(f'interlingua_requests_total{{route="{route}",status="{status}"}} {count}')
            lines.append("# TYPE interlingua_request_seconds histogram")
            for route, buckets in sorted(self._latency.items()):
                total = 0
                for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), buckets, strict=True):
                    total += count
                    lines.append(f'interlingua_request_seconds_bucket{{route="{route}",le="{bound}"}} {total}')
                lines.append(f'interlingua_request_seconds_sum{{route="{route}"}} {self._seconds[route]:.6f}')
                lines.append(f'interlingua_request_seconds_count{{route="{route}"}} {total}')
        return "\n".join(lines) + "\n"
