"""``interlingua keys``: the keys of the service, made, listed and revoked in a file that holds their hashes."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from interlingua.cli.options import AsJson

keys = typer.Typer(help="Keys of the service (interlingua serve --keys FILE).", no_args_is_help=True)

File = Annotated[
    Path | None, typer.Option("--file", help="File of keys, TOML (default: keys.toml, or what INTERLINGUA_KEYS names).")
]


def _place(file: Path | None) -> Path:
    from interlingua.serve.keys import FILE_VARIABLE

    named = os.environ.get(FILE_VARIABLE, "").strip()
    return file or Path(named if named and len(named.split()) < 3 else "keys.toml")


def _time(text: str | None) -> datetime | None:
    """A day or a time, in UTC where it says nothing else."""
    from interlingua.errors import ConfigError, shown

    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--expires is {shown(text)}; write a day or time as 2027-01-31 or 2027-01-31T12:00Z"
        ) from None
    found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    if found <= datetime.now(UTC):
        raise ConfigError(f"--expires is {shown(text)}, which has passed; name a later day")
    return found


@keys.command("new")
def new(
    name: Annotated[str, typer.Option("--name", help="Who gets it; stands in logs and counts.")],
    role: Annotated[
        Literal["read", "write", "admin"],
        typer.Option("--role", help="read: asks; write: changes items and events too; admin: the models too."),
    ] = "read",
    file: File = None,
    rate: Annotated[
        str | None, typer.Option("--rate", help="Requests it may send, e.g. 100/s (default: that of the service).")
    ] = None,
    expires: Annotated[str | None, typer.Option("--expires", help="Refuse it from then on, e.g. 2027-01-31.")] = None,
) -> None:
    """Make a key: it is printed once, on stdout, and its hash is stored; a running service takes it within a second."""
    from interlingua.errors import ConfigError
    from interlingua.serve.keys import editing, make_key

    path = _place(file)
    secret, key = make_key(name, role, rate, _time(expires))
    with editing(path) as known:
        if any(each.name == name for each in known):
            raise ConfigError(f"{path} has a key of the name {name!r}; choose another name")
        known.append(key)
    print(secret)
    print(f"stored in {path} as {name!r} ({role}); it cannot be shown again", file=sys.stderr)
    print(f"interlingua serve RUN --keys {path}", file=sys.stderr)


@keys.command("list")
def listed(file: File = None, as_json: AsJson = False) -> None:
    """List keys: names, roles and what limits them; the keys themselves are known to nobody here."""
    from interlingua.serve.keys import read_keys

    known = read_keys(_place(file))
    if as_json:
        found: list[dict[str, Any]] = [key.model_dump(mode="json", exclude={"sha256"}) for key in known]
        print(json.dumps({"keys": found}))
        return
    for key in known:
        state = (
            f"revoked {key.revoked:%Y-%m-%d}" if key.revoked else "valid" if key.valid(datetime.now(UTC)) else "expired"
        )
        until = f"until {key.expires:%Y-%m-%d %H:%M}" if key.expires else "no end"
        print(f"{key.name:<24} {key.role:<6} {state:<19} {until:<22} {key.rate or 'rate of the service'}")


@keys.command("revoke")
def revoked(
    name: Annotated[str, typer.Argument(help="Name of the key.")],
    file: File = None,
) -> None:
    """Refuse a key from now on; a running service notices within a second."""
    from interlingua.serve.keys import revoke

    path = _place(file)
    revoke(path, name)
    print(f"{name!r} of {path} is revoked", file=sys.stderr)


COMMANDS = {"keys": keys}
