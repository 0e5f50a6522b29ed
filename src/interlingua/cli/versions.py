"""``interlingua versions``, ``promote``, ``rollback``: which run serves, which did, and which is to."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interlingua.cli.options import AsJson, StorePlace

if TYPE_CHECKING:
    from interlingua.store import ModelVersion

SHOWN = "ndcg@10"
"""the metric that stands in the table, of the first protocol that has it"""


def versions(store: StorePlace, as_json: AsJson = False) -> None:
    """List the versions of a store, newest first: numbers, when they served, where they came from."""
    from interlingua.life.versions import listing, open_store

    with open_store(store) as opened:
        found = listing(opened)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    if not found:
        print("no versions yet; interlingua serve RUN --store STORE, or interlingua promote RUN --store STORE")
    for each in found:
        print(line(each))


def line(version: dict[str, Any]) -> str:
    """One version in one or two lines."""
    metric = next((name for name in version["metrics"] if name.endswith(f" {SHOWN}")), None)
    number = "" if metric is None else f"  {metric} {version['metrics'][metric]:.4f}"
    served = ", ".join(when(each) for each in version["promoted"][-3:])
    said = f"{'*' if version['serves'] else ' '} {version['version']}  made {when(version['made'])}{number}"
    said += f"  promoted {served}" if served else "  never promoted"
    return said + (f"\n    {version['note']}" if version["note"] else "")


def when(seconds: float) -> str:
    """A time in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def promote(
    version: Annotated[str, typer.Argument(help="A version of the store, or the folder of a finished run.")],
    store: StorePlace,
    as_json: AsJson = False,
) -> None:
    """Let a version serve; services on the store swap to it within seconds. A run is entered as a version first."""
    from interlingua.life.versions import enter, open_store
    from interlingua.life.versions import promote as promoted

    with open_store(store) as opened:
        name = enter(opened, version, "promoted by name").version if Path(version).is_dir() else version
        say_served(promoted(opened, name), as_json)


def rollback(
    store: StorePlace,
    version: Annotated[str | None, typer.Argument(help="A version; by default the one that served before.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let the version before serve again; again: the one before that."""
    from interlingua.life.versions import open_store
    from interlingua.life.versions import rollback as back

    with open_store(store) as opened:
        say_served(back(opened, version), as_json)


def say_served(model: ModelVersion, as_json: bool) -> None:
    """What serves from now on."""
    print(json.dumps({"version": model.version, "path": model.path}) if as_json else f"serves: {model.version}")


COMMANDS = {"versions": versions, "promote": promote, "rollback": rollback}
