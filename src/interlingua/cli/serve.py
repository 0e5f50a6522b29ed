"""``interlingua serve``: a finished run over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interlingua.cli.access_options import (
    AllowAnyone,
    AllowHost,
    CorsOrigin,
    Keys,
    Log,
    LogFormat,
    OpenMetrics,
    PerCaller,
    RequireKey,
    SpansTo,
    access_of,
)  # fmt: skip
from interlingua.cli.options import Device, Interleave, LogRequests, Reasons, Trust

if TYPE_CHECKING:
    from interlingua.serve.access import Access
    from interlingua.serve.limits import ServeLimits
    from interlingua.serve.workers import Worker


def serve(
    run: Annotated[
        Path | None,
        typer.Argument(help="Folder of a finished run (runs/evaluate-...). With --store: by default the promoted one."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on (0: a free one).")] = 8000,
    queue: Annotated[int, typer.Option(min=0, help="Requests that may wait for the model; more get 429.")] = 16,
    deadline: Annotated[float, typer.Option(min=0.01, help="Seconds until an unanswered request gets 503.")] = 30.0,
    drain: Annotated[float, typer.Option(min=0, help="Seconds for the request in work after SIGTERM.")] = 10.0,
    max_body: Annotated[int, typer.Option(min=1, help="Largest body of a request in bytes; more gets 413.")] = 1 << 20,
    index: Annotated[
        str | None,
        typer.Option(help="Approximate search: usearch (built now), or a folder of embed --index usearch."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(help="Keeps new items and events over a restart: a file, or postgresql://... (else in memory)."),
    ] = None,
    keys: Keys = None,
    require_key: RequireKey = False,
    open_metrics: OpenMetrics = False,
    allow_anyone: AllowAnyone = False,
    allow_host: AllowHost = None,
    cors_origin: CorsOrigin = None,
    rate: PerCaller = None,
    spans_to: SpansTo = None,
    log: Log = LogFormat.text,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer; more than one need --store.")] = 1,
    pin: Annotated[bool, typer.Option(help="Serve RUN whatever is promoted in the store, now or later.")] = False,
    log_requests: LogRequests = 0.0,
    interleave: Interleave = None,
    reasons: Reasons = "auto",
    device: Device = "auto",
    trust: Trust = False,
) -> None:
    """Serve recommendations over HTTP (POST /v1/recommend, /v1/items, /v1/events; /docs shows the API).

    Who may do what is said by keys: of --keys FILE, or of the environment variables INTERLINGUA_KEY (one key itself)
    and INTERLINGUA_KEYS (the file, or lines NAME ROLE SHA256). Without any, this machine alone changes items, events.
    With --store the promoted version serves, and versions promoted later are swapped in while it runs.
    """
    from interlingua.serve.limits import ServeLimits
    from interlingua.serve.workers import Workers, check, summed_counts

    if log is LogFormat.json:
        in_json()
    check(workers, store)
    limits = ServeLimits(queue=queue, deadline_s=deadline, drain_s=drain, max_body=max_body)
    opening = {"device": device, "trust": trust, "index": index, "reasons": reasons}

    how = {"pin": pin, "log_requests": log_requests, "interleave": interleave}

    def access() -> Access:
        return access_of(host, keys, require_key, open_metrics, allow_anyone, allow_host, cors_origin, rate)

    def one(worker: Worker | None = None) -> None:
        _serve_one(limits, access(), opening, (run, store), how, (host, port), (log, spans_to), worker)

    if workers == 1:
        imported()
        return one()
    with summed_counts():
        imported()
        access()  # what cannot be used is said once, before there are processes
        raise typer.Exit(Workers(workers, one, host, port, drain).run())


def _serve_one(
    limits: ServeLimits, access: Access, opening: dict[str, Any], which: tuple[Path | None, str | None],
    how: dict[str, Any], address: tuple[str, int], seen: tuple[LogFormat, str | None], worker: Worker | None,
) -> None:  # fmt: skip
    """One process, until a signal; ``which``: run and store; ``seen``: form of the log, and where spans go."""
    from interlingua.serve import server
    from interlingua.serve.app import create_app
    from interlingua.serve.logs import log_config
    from interlingua.serve.promoted import model_of
    from interlingua.serve.queue import WorkQueue
    from interlingua.serve.tracing import provider_of

    line = WorkQueue(limits.queue, limits.deadline_s)
    app = create_app(model_of(opening, *which, **how), limits, line, access, worker, provider_of(seen[1]))
    configured = None if seen[0] is LogFormat.json else log_config("text")  # JSON has begun before
    options: dict[str, Any] = {"log_config": configured, "access_log": False}
    server.run(app, line, limits, *address, worker, **options)


def in_json() -> None:
    """Writes JSON lines alone to stderr from now on, so that whoever collects them can read each."""
    from interlingua.serve.stderr_lines import write_json_lines

    write_json_lines()


def imported() -> None:
    """Imports what serving needs, which several processes then have in common.

    Raises:
        MissingExtraError: a package is not installed.
    """
    from interlingua.errors import MissingExtraError

    try:
        import interlingua.recommender
        import interlingua.serve.app
        import interlingua.serve.server  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "serve", "interlingua serve") from None


COMMANDS = {"serve": serve}
