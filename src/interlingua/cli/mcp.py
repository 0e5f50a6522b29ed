"""``interlingua mcp``: a finished run as tools for assistants, over stdin and stdout."""

from __future__ import annotations

from typing import Annotated

import typer

from interlingua.cli.options import Device, Reasons, RunPath, Trust


def mcp(
    run: RunPath,
    store: Annotated[
        str | None, typer.Option(help="Items and events that a service keeps: a file, or postgresql://...")
    ] = None,
    reasons: Reasons = "rule",
    device: Device = "auto",
    trust: Trust = False,
) -> None:
    """Offer a run to assistants (Model Context Protocol, stdio): recommend, similar, explain, why_not, search."""
    from interlingua.errors import MissingExtraError
    from interlingua.recommender import load

    try:
        from interlingua.serve.agents import server_of
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "mcp", "interlingua mcp") from None
    server_of(load(run, device, trust=trust, reasons=reasons, store=store)).run()


COMMANDS = {"mcp": mcp}
