"""Who may change items and events over HTTP: the bearer of a key, or, without one, this machine alone."""

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

MayChange = Callable[[Request], None]


def may_change(host: str) -> MayChange:
    """The check of a service that listens on ``host``; the key is read from the environment.

    Raises:
        ConfigError: a key that can be guessed.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
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
                401, "items and events are changed with the header 'Authorization: Bearer KEY'",
                {"WWW-Authenticate": "Bearer"},
            )  # fmt: skip

    return check


def _here(host: str) -> MayChange:
    """Only where the service listens to this machine alone, and was called by such a name (no page's DNS trick)."""

    def check(request: Request) -> None:
        if not (is_loopback(host) and is_loopback(_name(request))):
            raise HTTPException(
                403, f"without a key only this machine may change items and events, by the address 127.0.0.1; "
                f"start the service with the environment variable {KEY_VARIABLE}",
            )  # fmt: skip

    return check


def _name(request: Request) -> str:
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
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
