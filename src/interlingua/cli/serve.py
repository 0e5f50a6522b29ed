"""``interlingua serve``: a finished run over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    access_of,
)  # fmt: skip
from interlingua.cli.options import Device, Interleave, LogRequests, Reasons, Trust


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
    log: Log = LogFormat.text,
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
    from interlingua.errors import MissingExtraError

    try:
        from interlingua.serve import server
        from interlingua.serve.app import create_app
        from interlingua.serve.promoted import model_of
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "serve", "interlingua serve") from None
    from interlingua.serve.limits import ServeLimits
    from interlingua.serve.logs import log_config
    from interlingua.serve.queue import WorkQueue

    access = access_of(host, keys, require_key, open_metrics, allow_anyone, allow_host, cors_origin, rate)
    limits = ServeLimits(queue=queue, deadline_s=deadline, drain_s=drain, max_body=max_body)
    line = WorkQueue(limits.queue, limits.deadline_s)
    options = {"device": device, "trust": trust, "index": index, "reasons": reasons}
    model = model_of(options, run, store, pin=pin, log_requests=log_requests, interleave=interleave)
    app = create_app(model, limits, line, access)
    server.run(app, line, limits, host, port, log_config=log_config(log.value), access_log=False)


COMMANDS = {"serve": serve}
