"""Before a request is read: by which name the service was called, who calls, and whether that is too often."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Any

from interlingua.serve.access import CALLER, Access
from interlingua.serve.counts import Counts
from interlingua.serve.hosts import host_of
from interlingua.serve.rates import Buckets, Takes

ALIVE = "/health/live"
"""answered by any name: it says nothing"""
HEALTH = "/health/"
"""never counted against a rate"""
CORS: dict[str, Any] = {
    "allow_methods": ("GET", "HEAD", "POST", "PUT", "DELETE"),
    "allow_headers": ("Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id"),
    "expose_headers": ("Retry-After", "X-Request-Id"),
    "max_age": 600,
}
"""what a page of an allowed origin may send and see; no cookies: nobody is known by one"""


@dataclass(frozen=True)
class Refusal:
    """The answer to a request that is not let in."""

    status: int
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Door:
    """See the module."""

    def __init__(self, access: Access, counts: Counts, buckets: Takes | None = None) -> None:
        """``buckets``: those of several processes; None: this one has its own."""
        self.access, self.counts, self.buckets = access, counts, Buckets() if buckets is None else buckets

    def admit(self, scope: MutableMapping[str, Any]) -> Refusal | None:
        """Why a request is not let in; None: it is, and its caller stands in the scope."""
        access, path = self.access, scope["path"]
        if access.hosts is not None and path != ALIVE:
            named = [value for name, value in scope["headers"] if name == b"host"]
            header = named[0].decode("latin-1") if len(named) == 1 else ""
            if not access.hosts.answers(header):
                return _misdirected(header)
        caller = scope[CALLER] = access.caller(scope["headers"])
        limit = access.rate if caller.key is None else caller.key.limit or access.rate
        if limit is None or path.startswith(HEALTH):
            return None
        wait = self.buckets.take(_address(scope) if caller.key is None else caller.key.sha256, limit)
        if not wait:
            return None
        self.counts.limited(caller.role)
        who = "this address" if caller.key is None else f"the key {caller.name!r}"
        again = {"Retry-After": str(math.ceil(wait))}
        return Refusal(429, f"more than {limit} from {who}; try again later", again)


def _misdirected(header: str) -> Refusal:
    host = host_of(header)
    if host is None:
        return Refusal(400, "no Host header with one name")
    return Refusal(421, f"the service does not answer to the name {host[:100]!r}; start it with --allow-host NAME")


def _address(scope: Mapping[str, Any]) -> str:
    """Where a request comes from; of IPv6 the network of 64 bits, which one customer has to himself."""
    host = (scope.get("client") or ("",))[0]
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return str(host)
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or (int(found) >> 64))
    return str(found)
