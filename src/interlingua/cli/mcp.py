"""``interlingua mcp``: a finished run as tools for assistants, over stdin and stdout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interlingua.cli.options import Device, Reasons, Trust


def mcp(
    run: Annotated[
        Path | None,
        typer.Argument(help="Folder of a finished run (runs/evaluate-...). With --store: by default the promoted one."),
    ] = None,
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
    folder = _promoted(store) if run is None else run
    server_of(load(folder, device, trust=trust, reasons=reasons, store=store)).run()


def _promoted(store: str | None) -> Path:
    """The run of the version that the store serves.

    Raises:
        ConfigError: no store, or nothing is promoted in it.
    """
    from interlingua.errors import ConfigError
    from interlingua.life.versions import open_store, served

    if store is None:
        raise ConfigError("name a run (interlingua mcp RUN), or a store with a promoted one (--store)")
    with open_store(store) as opened:
        found = served(opened)
    if found is None:
        raise ConfigError(f"no version is promoted in {opened.place}: interlingua promote RUN --store {store}")
    return Path(found.path)


COMMANDS = {"mcp": mcp}
