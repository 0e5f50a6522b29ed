"""By which names a service may be called: a stranger's page whose name leads here (DNS rebinding) gets no answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from interlingua.errors import ConfigError, shown

HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@?#\[\]]+)(?::\d{0,5})?")
"""a Host header: a name or an address, and a port"""
EVERYWHERE = ("0.0.0.0", "::", "")
"""addresses that mean all of a machine's"""


class Hosts:
    """The names and addresses that are answered."""

    def __init__(self, bound: str, more: Sequence[str] = ()) -> None:
        """The machine's own names, what the service listens on, and ``more``.

        Args:
            bound: address that the service listens on. Where that is every address, any that is written in digits is
                answered: a stranger's page has a name.
            more: further names; ``*.shop.example`` is any below that one, ``*`` any at all.

        Raises:
            ConfigError: a name that no Host header can carry.
        """
        self._digits = bound in EVERYWHERE
        self._names = {name.lower().rstrip(".") for name in (bound, *more)}
        for name in more:
            ending = name.removeprefix("*.")
            if name != "*" and ("*" in ending or not ending or host_of(_bracketed(ending)) is None or ":" in ending):
                raise ConfigError(
                    f"--allow-host {shown(name)}: give a name without port, such as shop.example, *.shop.example, or *"
                )

    def answers(self, header: str) -> bool:
        """Whether a request with this Host header is answered."""
        name = (host_of(header) or "").lower().rstrip(".")
        if "*" in self._names:
            return True
        if not name:
            return False
        below = any(name.endswith(each[1:]) for each in self._names if each.startswith("*."))
        return name in self._names or below or is_loopback(name) or (self._digits and _address(name))


def host_of(header: str) -> str | None:
    """The name or address in a Host header, without port and brackets; None: it is none."""
    found = HOST.fullmatch(header.strip())
    return None if found is None else found[1].strip("[]")


def origin_host(origin: str) -> str:
    """The name or address of an Origin header; empty: it has none."""
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _bracketed(name: str) -> str:
    return f"[{name}]" if _address(name) and ":" in name else name


def _address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
