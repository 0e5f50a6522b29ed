"""``interlingua bench``: measures that need many runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from interlingua.cli.options import AsJson, Device, Out

app = typer.Typer(help="Measures that need many runs.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measures that need many runs."""


@app.command("all-round")
def all_round(
    data: Annotated[str, typer.Option("--data", help="A dataset's name, a file or a folder.")],
    splits: Annotated[
        list[str] | None, typer.Option("--split", help="leave-one-out, global-time, item-cold (default: all three).")
    ] = None,
    seeds: Annotated[
        list[int] | None, typer.Option("--seed", help="Training seeds (default: 7); the first also divides the data.")
    ] = None,
    recipes: Annotated[
        list[str] | None, typer.Option("--recipe", help="A further recipe to measure, by name or path.")
    ] = None,
    max_users: Annotated[int | None, typer.Option(help="Evaluate a random subset of the users.", min=1)] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="data.key=value or evaluate.key=value, for all.")
    ] = None,
    out: Out = Path("runs"),
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Hold every method against the best simple one, for every kind of item and user; the worst slice counts."""
    from interlingua.report import all_round as measures
    from interlingua.report.side_by_side import Method

    more = [Method(Path(recipe).stem, recipe) for recipe in recipes or ()]
    made = measures.measure(
        data, methods=(*measures.SIMPLE, *measures.FURTHER, *more), splits=tuple(splits or measures.SPLITS),
        seeds=tuple(seeds or (7,)), out=out, overrides=tuple(overrides or ()), max_users=max_users, device=device,
    )  # fmt: skip
    print(json.dumps(made.to_json(), indent=1) if as_json else made.markdown())


COMMANDS = {"bench": app}
