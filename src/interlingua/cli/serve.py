"""``interlingua serve``: a finished run over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from interlingua.cli.options import Device, RunPath


def serve(
    run: RunPath,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on (0: a free one).")] = 8000,
    device: Device = "auto",
) -> None:
    """Serve recommendations over HTTP (POST /v1/recommend; /docs shows the API)."""
    from interlingua.errors import MissingExtraError
    from interlingua.recommender import load

    try:
        import uvicorn

        from interlingua.serve.app import create_app
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "serve", "interlingua serve") from None
    uvicorn.run(create_app(load(run, device)), host=host, port=port)
