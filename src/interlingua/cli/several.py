"""``interlingua run A B C --on DATA``: several recipes with one split and the same protocols, then a leaderboard."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer


def several(
    names: Sequence[str],
    data: str | None,
    *,
    out: Path,
    overrides: Sequence[str],
    seed: int,
    device: str,
    trust: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Runs the recipes, or shows with ``dry_run`` what would run."""
    from interlingua.errors import ConfigError
    from interlingua.runs.several import on_one_dataset, run_several

    if data is None:
        raise ConfigError(
            f"{len(names)} recipes bring splits and protocols of their own, so their numbers could not be compared: "
            "name one dataset for all with --on, e.g. --on movielens-small"
        )
    if dry_run:
        from interlingua.cli.plans import plan_tables
        from interlingua.runs.planner import describe
        from interlingua.runs.session import Session

        plans = {
            r.name: describe(Session(r, out, seed, device)) for r in on_one_dataset(names, data, overrides, trust=trust)
        }
        print(json.dumps(plans, indent=1) if as_json else plan_tables(plans))
        return
    made = run_several(names, data, out=out, seed=seed, device=device, overrides=overrides, trust=trust)
    if as_json:
        runs = {name: str(path) for name, path in made.runs.items()}
        boards = [board.to_json() for board in made.boards]
        print(json.dumps({"runs": runs, "failed": made.failed, "leaderboards": boards}))
    else:
        show(made.boards)
        for name, path in made.runs.items():
            print(f"{name}: {path}")
        if len(made.runs) > 1:
            print(f"next: interlingua compare {shlex.join(map(str, made.runs.values()))}")
    if made.failed:
        lines = "\n".join(f"  {name}: {why}" for name, why in made.failed.items())
        typer.echo(f"error: {len(made.failed)} of {len(names)} recipes did not finish:\n{lines}", err=True)
        raise typer.Exit(2)


def show(boards: Sequence[Any]) -> None:
    """Leaderboards on the terminal."""
    from rich.console import Console

    from interlingua.report.leaderboard_table import to_rich

    console = Console()
    for board in boards:
        console.print(to_rich(board))
        console.print()
