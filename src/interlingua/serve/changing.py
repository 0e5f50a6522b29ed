"""Who may change items and events over HTTP: the bearer of a key, or, without one, this machine alone.

A proxy on this machine is this machine too, and so is a browser that shows somebody's page: what comes through either
is refused without a key.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from fastapi import HTTPException, Request

from interlingua.errors import ConfigError

KEY_VARIABLE = "INTERLINGUA_KEY"
"""environment variable with the key; an argument would stand in the list of processes"""
SHORTEST = 16
"""characters of a key"""

PASSED_ON = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
"""headers with which proxies pass a request on"""

MayChange = Callable[[Request], None]


def may_change(host: str) -> MayChange:
    """The check of a service that listens on ``host``; the key is read from the environment.

    Raises:
        ConfigError: a key that can be guessed.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{KEY_VARIABLE} has a character that no header can carry; use letters, digits, - and _")
    if key and len(key) < SHORTEST:
        raise ConfigError(
            f"{KEY_VARIABLE} has {len(key)} characters, and fewer than {SHORTEST} can be guessed; make a key with "
            "python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return _bearer(key) if key else _here(host)


def _bearer(key: str) -> MayChange:
    expected = f"Bearer {key}".encode()

    def check(request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, expected):
            raise HTTPException(
                401, "no 'Authorization: Bearer KEY' with the service's key, and without it nothing is changed",
                {"WWW-Authenticate": "Bearer"},
            )  # fmt: skip

    return check


def _here(host: str) -> MayChange:
    """Only where the service listens to this machine alone, and was called by such a name, by no proxy and no page."""

    def check(request: Request) -> None:
        headers = request.headers
        named = is_loopback(host) and is_loopback(_name(f"//{headers.get('host', '')}"))
        of_page = "origin" in headers and not is_loopback(_name(headers["origin"]))
        if not named or of_page or any(name in headers for name in PASSED_ON):
            raise HTTPException(
                403, f"without a key only this machine may change items and events, by the address 127.0.0.1; "
                f"start the service with the environment variable {KEY_VARIABLE}",
            )  # fmt: skip

    return check


def _name(address: str) -> str:
    """The host of an address."""
    try:
        return urlsplit(address).hostname or ""
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
