"""Who may do what: the bearer of a key by its role, or, where there is no key at all, this machine alone.

A route says what it needs: ``dependencies=[Depends(needs("admin"))]``. A proxy on this machine is this machine too, and
so is a browser that shows somebody's page: what comes through either is refused where there is no key.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import HTTPException, Request, Security
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers

from interlingua.errors import ConfigError, shown
from interlingua.serve.hosts import Hosts, host_of, is_loopback, origin_host
from interlingua.serve.keyring import KEY_VARIABLE, KeyRing
from interlingua.serve.keys import RANK, Key, Role
from interlingua.serve.rates import Rate

CALLER = "interlingua.caller"
"""where a request's :class:`Caller` is in the ASGI scope"""
PASSED_ON = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
"""headers with which proxies pass a request on"""
ABROAD = ("cross-site", "same-site")
"""what a browser says in Sec-Fetch-Site of a request that another page makes"""
ORIGIN = re.compile(r"https?://[^\s/?#@*]+")

BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="A key of the service (`interlingua keys new`): roles read, write, admin; each has those before it.",
)


@dataclass(frozen=True)
class Caller:
    """Who asks: the valid key that was presented, if one was."""

    key: Key | None = None

    @property
    def name(self) -> str | None:
        """Of the key."""
        return None if self.key is None else self.key.name

    @property
    def role(self) -> Role | None:
        """Of the key."""
        return None if self.key is None else self.key.role


class Access:
    """The rules of one service."""

    def __init__(
        self, ring: KeyRing, host: str = "127.0.0.1", *, require_key: bool = False, open_metrics: bool = False,
        hosts: Hosts | None = None, rate: Rate | None = None, origins: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Rules for a service that listens on ``host``.

        Args:
            ring: the keys.
            host: address that the service listens on.
            require_key: questions need a key even if none has the role read.
            open_metrics: ``/metrics`` never needs one.
            hosts: by which names the service answers; None: by any.
            rate: of each key that has none of its own, and of each address without a key; None: any.
            origins: of pages on other hosts that may ask (CORS), as ``https://shop.example``; ``*`` is every page.

        Raises:
            ConfigError: a key is required, and there is none; an origin that is none.
        """
        for origin in origins:
            if origin != "*" and ORIGIN.fullmatch(origin) is None:
                raise ConfigError(f"--cors-origin {shown(origin)}: give scheme and host, as https://shop.example")
        self.hosts, self.rate, self.origins = hosts, rate, tuple(origins)
        if require_key and not ring.has():
            raise ConfigError(
                "--require-key: there is no key, so that nobody could ask; make one with: "
                "interlingua keys new --role read --name NAME"
            )
        self.ring, self.host, self.require_key, self.open_metrics = ring, host, require_key, open_metrics

    def caller(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """Who sent these headers. A key that is none is no error here: what is open is open to everybody."""
        given = [value for name, value in headers if name == b"authorization"]
        if len(given) != 1:
            return Caller()
        scheme, _, presented = given[0].decode("latin-1").partition(" ")
        return Caller(self.ring.find(presented.strip()) if scheme.lower() == "bearer" else None)

    @property
    def questions_need_a_key(self) -> bool:
        """Whether ``/v1/recommend`` and the like are answered to bearers of keys alone."""
        return self.require_key or self.ring.has("read", exactly=True)

    def check(self, caller: Caller, headers: Headers, lowest: Role) -> None:
        """Raises: HTTPException: 401 without a key, 403 with one of a lower role or from elsewhere."""
        if caller.key is not None and RANK[caller.key.role] >= RANK[lowest]:
            return
        if lowest == "read" and not self.questions_need_a_key:
            return
        if caller.key is not None:
            raise HTTPException(
                403, f"the key {caller.key.name!r} has the role {caller.key.role}, and this needs the role {lowest}"
            )
        if self.ring.has():
            raise HTTPException(
                401, f"no 'Authorization: Bearer KEY' with a valid key of the service; this needs the role {lowest}",
                {"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        self._here(headers)

    def _here(self, headers: Headers) -> None:
        """Only where the service listens to this machine alone, and was called by such a name, by no proxy, no page."""
        named = is_loopback(self.host) and is_loopback(host_of(headers.get("host", "")) or "")
        of_page = "origin" in headers and not is_loopback(origin_host(headers["origin"]))
        abroad = headers.get("sec-fetch-site") in ABROAD
        if not named or of_page or abroad or any(name in headers for name in PASSED_ON):
            raise HTTPException(
                403, "without a key only this machine may change anything here, by the address 127.0.0.1; start the "
                f"service with --keys FILE (interlingua keys new) or the environment variable {KEY_VARIABLE}",
            )  # fmt: skip


def check_binding(ring: KeyRing, host: str, allow_anyone: bool = False) -> None:
    """Refuses to listen to others without a key.

    Raises:
        ConfigError: with what to do.
    """
    if not is_loopback(host) and not ring.has() and not allow_anyone:
        raise ConfigError(
            f"--host {host} lets other machines in, and there is no key. Make one with: interlingua keys new --role "
            "read --name NAME, and add --keys keys.toml. Or say --allow-anyone: then anybody who reaches that address "
            "gets answers (and nobody can change anything)"
        )


def needs(lowest: Role) -> Callable[..., Awaitable[None]]:
    """A dependency of a route: the caller's key has this role, or one that includes it.

    Args:
        lowest: ``read`` for what asks, ``write`` for what changes items and events, ``admin`` for what changes models.
    """

    async def check(request: Request, _: Any = None) -> None:
        access: Access | None = request.app.state.access
        if access is not None:
            access.check(request.scope[CALLER], request.headers, lowest)

    check.__annotations__["_"] = Annotated[Any, Security(BEARER, scopes=[lowest])]  # as a text it could name no role
    return check


async def may_read_people(request: Request, _: Annotated[Any, Security(BEARER, scopes=["read"])] = None) -> None:
    """A dependency of what lists users and tells their histories: never open to strangers.

    Where questions need no key, any key that changes something will do, or without keys this machine alone.
    """
    access: Access | None = request.app.state.access
    if access is not None:
        access.check(request.scope[CALLER], request.headers, "read" if access.questions_need_a_key else "write")


async def may_see_metrics(request: Request, _: Annotated[Any, Security(BEARER, scopes=["read"])] = None) -> None:
    """A dependency of ``/metrics``: as questions, unless it was opened."""
    access: Access | None = request.app.state.access
    if access is not None and not access.open_metrics:
        access.check(request.scope[CALLER], request.headers, "read")
