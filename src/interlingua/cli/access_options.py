"""Options of ``interlingua serve`` that say who may ask, from where, how often, and what is logged of it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from interlingua.serve.access import Access


class LogFormat(StrEnum):
    """How the lines of a log are written."""

    text = "text"
    json = "json"


Keys = Annotated[Path | None, typer.Option(help="File of API keys (interlingua keys new); read again when it changes.")]
RequireKey = Annotated[
    bool, typer.Option("--require-key", help="Questions need a key too (so they do where one has the role read).")
]
OpenMetrics = Annotated[bool, typer.Option("--open-metrics", help="/metrics never needs a key.")]
AllowAnyone = Annotated[bool, typer.Option("--allow-anyone", help="Listen to other machines (--host) without any key.")]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(help="A further name that the service is called by, e.g. shop.example, *.shop.example. Repeatable."),
]
CorsOrigin = Annotated[
    list[str] | None,
    typer.Option(help="Pages of this origin may ask, e.g. https://shop.example (default: none). Repeatable."),
]
PerCaller = Annotated[
    str | None, typer.Option(help="Requests of each key, or address without one, e.g. 100/s, 600/min (default: any).")
]
Log = Annotated[LogFormat, typer.Option(help="How lines about requests are written to stderr.")]

SpansTo = Annotated[
    str | None,
    typer.Option(
        help="Send spans to this OpenTelemetry collector (OTLP over HTTP), e.g. http://localhost:4318.",
        envvar="OTEL_EXPORTER_OTLP_ENDPOINT",
    ),
]


def access_of(
    host: str, keys: Path | None, require_key: bool, open_metrics: bool, allow_anyone: bool,
    allow_host: list[str] | None, cors_origin: list[str] | None, rate: str | None,
) -> Access:  # fmt: skip
    """The rules that the options name.

    Raises:
        ConfigError: keys, names, origins or a rate that cannot be used; an address of others without a key.
    """
    from interlingua.serve.access import Access, check_binding
    from interlingua.serve.hosts import Hosts
    from interlingua.serve.keyring import ring_of
    from interlingua.serve.rates import Rate

    ring = ring_of(keys)
    check_binding(ring, host, allow_anyone)
    return Access(
        ring, host, require_key=require_key, open_metrics=open_metrics, hosts=Hosts(host, allow_host or ()),
        rate=None if rate is None else Rate.parse(rate, "--rate"), origins=cors_origin or (),
    )  # fmt: skip
