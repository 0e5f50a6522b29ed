"""``interlingua embed``: the vectors of a finished run, for indexes and other systems."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from interlingua.cli.options import AsJson, Device, RunPath, Trust


class Format(StrEnum):
    """How vectors are written."""

    safetensors = "safetensors"
    npy = "npy"
    parquet = "parquet"


class Events(StrEnum):
    """What user vectors are made from."""

    all = "all"
    train = "train"


class Index(StrEnum):
    """Approximate indexes."""

    usearch = "usearch"


def embed(
    run: RunPath,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write; default: beside the run.")] = None,
    format: Annotated[Format, typer.Option("--format", help="Kind of files.")] = Format.safetensors,
    events: Annotated[Events, typer.Option(help="User vectors from all events on record, or the train part.")] = (
        Events.all
    ),
    index: Annotated[
        Index | None, typer.Option(help="Also write an approximate index of the items, and print its recall.")
    ] = None,
    expansion: Annotated[int, typer.Option(help="Candidates that the index looks at: time against recall.")] = 64,
    to: Annotated[
        str | None,
        typer.Option(
            help="Write into a vector database instead, and print its recall: qdrant:PATH_OR_URL, "
            "postgresql://HOST/DATABASE (pgvector) or lancedb:PATH; #NAME behind it names the tables."
        ),
    ] = None,
    device: Device = "auto",
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Write the user and item vectors of a run whose score is their dot product."""
    if to is not None:
        _into_database(run, to, events.value, device, trust, as_json, out, index)
        return
    from interlingua.config import build
    from interlingua.retrieval.ann import AnnConfig
    from interlingua.runs.export import embed as write
    from interlingua.runs.opening import open_session

    ann = build(AnnConfig, {"expansion_search": expansion}, "--expansion")
    kind = None if index is None else index.value
    made = write(open_session(run, device, trust=trust), out, format.value, events=events.value, index=kind, ann=ann)
    card = made.card
    if as_json:
        keys = ("run", "source", "shapes", "bias_column", "index", "seconds")
        files = sorted(card["files"])
        print(json.dumps({"path": str(made.path), "files": files} | {k: card[k] for k in keys if k in card}))
        return
    users, items = card["shapes"]["users"], card["shapes"]["items"]
    print(f"{made.path}: {users[0]:,} users and {items[0]:,} items, width {items[1]}")
    if card["bias_column"]:
        print("the last column is the items' bias; users have 1 there")
    if index is not None:
        found = card["index"]
        print(
            f"index {found['file']}: recall@10 {found['recall@10']:.4f} against exact, {found['users']:,} users, "
            f"{found['index_ms_per_user']:.3f} ms per user (exact {found['exact_ms_per_user']:.3f} ms)"
        )


def _into_database(
    run: Path, to: str, events: str, device: str, trust: bool, as_json: bool, out: Path | None, index: Index | None
) -> None:
    """``--to``: what was written where, and how the database answers."""
    from interlingua.errors import ConfigError
    from interlingua.runs.opening import open_session
    from interlingua.runs.vectors_out import embed_to

    if out is not None or index is not None:
        raise ConfigError(f"--to {to} writes into a database; --out and --index belong to files")
    made = embed_to(open_session(run, device, trust=trust), to, events=events)
    if as_json:
        print(json.dumps(asdict(made)))
        return
    print(f"{made.items_table}: {made.items:,} items, width {made.width}")
    if made.users_table:
        print(f"{made.users_table}: {made.users:,} users")
    print(f"recall@10 {made.recall:.4f} of our exact search, {made.checked_users:,} users")


COMMANDS = {"embed": embed}
