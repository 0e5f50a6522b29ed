"""``interlingua refresh``: train again with what the store has learned, and promote what is not worse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from interlingua.cli.options import AsJson, Device, StorePlace, Trust


def refresh(
    store: StorePlace,
    run: Annotated[
        Path | None, typer.Argument(help="Folder of a finished run; by default the one that serves.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of runs; by default that of RUN.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Where the run's source lies now, if it moved.")] = None,
    metric: Annotated[str, typer.Option("--metric", help="By which the versions are compared.")] = "ndcg@10",
    device: Device = "auto",
    trust: Trust = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is new; train nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a run's recipe on its data and the store's, compare it with what serves, and promote it if not worse.

    Killed or stopped, the same command continues. Services on the store swap within seconds.
    """
    from interlingua.life.refresh import left_out, of_store
    from interlingua.life.refresh import refresh as refreshed
    from interlingua.life.versions import open_store

    with open_store(store) as opened:
        found = refreshed(
            run, opened, out=out, data=data, metric=metric, device=device, trust=trust, dry_run=dry_run
        )  # fmt: skip
    if as_json:
        print(json.dumps(found.to_json()))
        return
    if found.version is None:
        counts = found.counts
        print(
            f"would train on {counts['events']:,} events of the source and {of_store(counts)}, with "
            f"{counts['new_items']:,} new or changed items{left_out(counts, found.waiting)}; {found.reason}"
        )
        return
    print(f"version {found.version}: {found.reason}")
    print(f"{'promoted' if found.promoted else 'not promoted'}; run: {found.path}")


COMMANDS = {"refresh": refresh}
