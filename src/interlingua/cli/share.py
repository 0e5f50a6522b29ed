"""``interlingua save`` and ``interlingua push``: a finished run as a folder for others, here or on the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from interlingua.cli.options import AsJson, RunPath, Trust

Events = Annotated[bool, typer.Option("--events", help="The users, their ids and all their events go along.")]
License = Annotated[str | None, typer.Option(help="Licence of the model, for its page: mit, cc-by-4.0, ...")]


def save(
    run: RunPath,
    folder: Annotated[Path, typer.Argument(help="Folder to write: new, empty, or a saved model (--overwrite).")],
    events: Events = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the saved model that is there.")] = False,
    license: License = None,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Save a run as one folder that opens anywhere, without users and events."""
    from interlingua.runs.opening import open_session
    from interlingua.runs.pretrained import save as write

    made = write(open_session(run, trust=trust), folder, events=events, overwrite=overwrite, license=license)
    size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
    if as_json:
        print(json.dumps({"path": str(made), "events": events, "bytes": size}))
        return
    inside = "with the users and their events" if events else "without users and events"
    print(f"{made}: {size / 2**20:,.1f} MiB, {inside}; open it with interlingua.from_pretrained({str(made)!r})")


def push(
    run: RunPath,
    repo_id: Annotated[str, typer.Argument(help="owner/name on the Hugging Face hub; made where it is not there.")],
    private: Annotated[bool | None, typer.Option("--private/--public", help="Of a repository made now.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch; default: the main one.")] = None,
    events: Events = False,
    license: License = None,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Upload a run to the Hugging Face hub, without users and events (token: hf auth login, or HF_TOKEN)."""
    from interlingua.runs.hub import push as upload
    from interlingua.runs.opening import open_session

    session = open_session(run, trust=trust)
    url = upload(session, repo_id, private=private, revision=revision, events=events, license=license)
    print(json.dumps({"commit": url}) if as_json else url)


COMMANDS = {"save": save, "push": push}
