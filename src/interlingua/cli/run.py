"""``interlingua run``: a recipe from data to numbers."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interlingua.cli.options import AsJson, Budget, Data, Device, DryRun, Out, Overrides, Seed, Trust

if TYPE_CHECKING:
    from interlingua.runs.session import Session


def run(
    recipe: Annotated[
        list[str],
        typer.Argument(help="A shipped recipe (interlingua list recipes) or a TOML file. Several need --on."),
    ],
    data: Data = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            help="Dataset name, file or folder for all recipes: one split and filter and the same protocols in place "
            "of their own [data] and [evaluate]; prints their leaderboard.",
        ),
    ] = None,
    out: Out = Path("runs"),
    overrides: Overrides = None,
    seed: Seed = 7,
    device: Device = "auto",
    trust: Trust = False,
    budget: Budget = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Run every stage of a recipe that is not finished yet, and measure the result."""
    if on is not None or len(recipe) > 1:
        from interlingua.cli.several import several

        if on is not None and data is not None:
            raise typer.BadParameter("give --data (one recipe with its own split) or --on, not both")
        if budget is not None:
            raise typer.BadParameter("--budget is for one recipe; leave --on out")
        several(
            recipe,
            on,
            out=out,
            overrides=overrides or (),
            seed=seed,
            device=device,
            trust=trust,
            dry_run=dry_run,
            as_json=as_json,
        )
        return
    from interlingua.runs import recipe as recipes
    from interlingua.runs import stages

    resolved = recipes.load(recipe[0], overrides or (), data, trust=trust)
    if dry_run:
        from interlingua.runs.session import Session

        print(planned(Session(resolved, out, seed, device), as_json, budget))
        return
    session = stages.run(resolved, out=out, seed=seed, device=device, budget=budget)
    result = summary(session)
    if as_json:
        print(json.dumps(result))
        return
    print_metrics(result)
    print(f"\nrun: {result['run']}")
    print(f"next: interlingua recommend {shlex.quote(result['run'])} --history ITEM_ID,ITEM_ID")


def summary(session: Session) -> dict[str, Any]:
    """The output of ``--json``: run path, stage keys, metrics, slices, seconds."""
    final = session.done["evaluate"]
    reports = json.loads((final.path / "metrics.json").read_text(encoding="utf-8"))
    return {
        "run": str(final.path),
        "recipe": session.recipe.name,
        "stages": {kind: done.key for kind, done in session.done.items()},
        "metrics": {name: report["metrics"] for name, report in reports.items()},
        "intervals": {name: report["intervals"] for name, report in reports.items()},
        "slices": {name: report["slices"] for name, report in reports.items()},
        "undefined": {name: report.get("undefined", {}) for name, report in reports.items()},
        "protocols": {name: report["protocol"] for name, report in reports.items()},
        "seconds": {kind: done.card["seconds"] for kind, done in session.done.items()},
        "reused": sorted(session.reused),
    }


def print_metrics(result: dict[str, Any]) -> None:
    """One table per protocol: never two protocols in one table."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name, metrics in result["metrics"].items():
        table = Table(title=f"{result['recipe']}, protocol {result['protocols'][name]}", title_justify="left")
        table.add_column("metric")
        table.add_column("value", justify="right")
        table.add_column("95 % interval", justify="right")
        for metric, value in metrics.items():
            known = result["intervals"][name].get(metric)
            written = "not defined" if value is None or value != value else f"{value:.4f}"
            table.add_row(metric, written, f"{known[0]:.4f} to {known[1]:.4f}" if known and None not in known else "")
        console.print(table)


def planned(session: Session, as_json: bool, budget: str | None = None) -> str:
    """The dry run, after a check that nothing is missing; of optional members those that a run would have."""
    from interlingua.progress import say, seconds_of
    from interlingua.runs.estimate import Estimator
    from interlingua.runs.optional import with_possible_members
    from interlingua.runs.planner import describe
    from interlingua.runs.preflight import check

    check([session])
    limit = None if budget is None else seconds_of(budget)
    session = with_possible_members(session, lambda: Estimator(session).data, limit, keep=False)
    for note in session.recipe.notes:
        say(note)
    from interlingua.cli.plans import plan_table

    rows = describe(session)
    return json.dumps(rows, indent=1) if as_json else plan_table(rows)


COMMANDS = {"run": run}
