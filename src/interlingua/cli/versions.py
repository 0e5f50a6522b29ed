"""``interlingua versions``, ``promote``, ``rollback``: which run serves, which did, and which is to."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interlingua.cli.options import AsJson, StorePlace

if TYPE_CHECKING:
    from interlingua.store import ModelVersion, Store

SHOWN = "ndcg@10"
"""the metric that stands in the table, of the first protocol that has it"""


def versions(
    store: StorePlace,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Delete the folders of versions that neither serve nor are kept for a rollback."),
    ] = False,
    keep: Annotated[int, typer.Option("--keep", min=0, help="With --prune: keep so many steps of rollback.")] = 1,
    user: Annotated[
        str | None, typer.Option("--user", help="With --prune: delete only, and all of, what has this user's data.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --prune: say what would be deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the versions of a store, newest first: numbers, when they served, where they came from.

    --prune deletes folders of old ones instead; what serves always stays, and the list keeps every version's numbers.
    """
    from interlingua.errors import ConfigError
    from interlingua.life.versions import listing, open_store

    if not prune and (user is not None or dry_run):
        raise ConfigError("--user and --dry-run belong to --prune")
    with open_store(store) as opened:
        if prune:
            say_pruned(opened, keep, user, dry_run, as_json)
            return
        found = listing(opened)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    if not found:
        print("no versions yet; interlingua serve RUN --store STORE, or interlingua promote RUN --store STORE")
    for each in found:
        print(line(each))


def say_pruned(store: Store, keep: int, user: str | None, dry_run: bool, as_json: bool) -> None:
    """Deletes folders of versions, and says which."""
    from interlingua.life.folders import holding, prune

    found = prune(store, keep=keep, user=user, dry_run=dry_run)
    if as_json:
        print(json.dumps(asdict(found), ensure_ascii=False))
        return
    done = "would delete" if dry_run else "deleted"
    names = ", ".join(found.versions) or "none"
    print(f"{done} the folders of versions: {names} ({len(found.folders)} folders, {found.size / 1e6:.1f} MB)")
    if user is not None and (left := [each for each in holding(store, user) if each in found.left]):
        print(
            f"the user is still in {', '.join(left)}, which serves: interlingua refresh --store STORE, then this again"
        )


def line(version: dict[str, Any]) -> str:
    """One version in one or two lines."""
    metric = next((name for name in version["metrics"] if name.endswith(f" {SHOWN}")), None)
    number = "" if metric is None else f"  {metric} {version['metrics'][metric]:.4f}"
    served = ", ".join(when(each) for each in version["promoted"][-3:])
    said = f"{'*' if version['serves'] else ' '} {version['version']}  made {when(version['made'])}{number}"
    said += f"  promoted {served}" if served else "  never promoted"
    said += "" if version["path"] else "  (folder deleted)"
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

    with open_store(store, make=Path(version).is_dir()) as opened:
        name = enter(opened, version, "promoted by name").version if Path(version).is_dir() else version
        say_served(promoted(opened, name), as_json)


def rollback(
    store: StorePlace,
    version: Annotated[str | None, typer.Argument(help="A version; by default the one that served before.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take the last promotion back: the version before serves again; again: the one before that.

    With a version: back to when it served last. One that is not on the way back is promoted.
    """
    from interlingua.life.versions import open_store
    from interlingua.life.versions import rollback as back

    with open_store(store) as opened:
        say_served(back(opened, version), as_json)


def say_served(model: ModelVersion, as_json: bool) -> None:
    """What serves from now on."""
    print(json.dumps({"version": model.version, "path": model.path}) if as_json else f"serves: {model.version}")


COMMANDS = {"versions": versions, "promote": promote, "rollback": rollback}
