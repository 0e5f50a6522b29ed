"""``interlingua demo``: the main job on real data: train, align, measure against baselines, explain."""

from __future__ import annotations

import csv
import io
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interlingua.cli.options import AsJson, Device, DryRun, Out, Overrides, Seed, Trust

if TYPE_CHECKING:
    from interlingua.report.demo import Shown
    from interlingua.report.side_by_side import Result
    from interlingua.runs.session import Session

FAVOURITE = "movielens-small"


def demo(
    data: Annotated[str | None, typer.Option("--data", help="Another dataset (name, file or folder).")] = None,
    out: Out = Path("runs"),
    report: Annotated[
        Path | None, typer.Option(help="Where the HTML report goes (default: demo.html in the folder of runs).")
    ] = None,
    overrides: Overrides = None,
    seed: Seed = 7,
    device: Device = "auto",
    trust: Trust = False,
    extra_runs: Annotated[
        list[Path] | None,
        typer.Option("--beside", help="A finished run to show too (runs/evaluate-...); may be given several times."),
    ] = None,
    users: Annotated[int, typer.Option(help="How many users to show.", min=0)] = 3,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Train, align with a language model, measure against baselines, and show recommendations with reasons."""
    from interlingua.progress import duration, say
    from interlingua.report import demo as showcase
    from interlingua.report.html import write_report
    from interlingua.report.side_by_side import run_methods

    started = time.perf_counter()
    source, place = data or _favourite_or_planted(), report or out / "demo.html"
    if dry_run:
        _plan(out, seed, source, overrides or (), device, as_json)
        return
    _check_writable(place)
    _checked(out, seed, source, overrides or (), device)
    results = run_methods(
        showcase.DEMO,
        out=out,
        seed=seed,
        data=source,
        overrides=overrides or (),
        device=device,
        extra_runs=extra_runs or (),
        trust=trust,
    )
    backbone = next(r for r in results if r.method.label == showcase.BACKBONE)
    ranker = next(r for r in results if r.method.label == showcase.METHOD)
    say(f"\nasking {users} users, drawn at random")
    indices = showcase.pick_users(ranker.session, users, seed)
    shown = [showcase.show_user(row, backbone, ranker, [r for r in results if r.saved]) for row in indices]
    command = shlex.join(["interlingua", *sys.argv[1:]])
    page = showcase.page(results, shown, time.perf_counter() - started, command)
    if as_json:
        write_report(place, page)
        print(json.dumps(_json(results, shown, page.summary, place)))
        return
    print_table(results)
    print("\n" + "\n".join(f"- {sentence}" for sentence in page.summary))
    for one in shown:
        print_user(one)
    write_report(place, page)
    print(f"\nreport: {place}  (opens in a browser, needs no network)")
    print(f"run:    {ranker.run}")
    print(f"next:   interlingua recommend {shlex.quote(str(ranker.run))} --history {_example(ranker)}")
    print(f"time:   {duration(time.perf_counter() - started)}")


def _plan(out: Path, seed: int, data: str, overrides: Sequence[str], device: str, as_json: bool) -> None:
    """The stages of every method, without running one."""
    from interlingua.cli.plans import plan_table
    from interlingua.runs.planner import describe

    plans = {label: describe(session) for label, session in _checked(out, seed, data, overrides, device).items()}
    if as_json:
        print(json.dumps(plans, indent=1))
        return
    print("\n\n".join(f"{label}\n{plan_table(rows)}" for label, rows in plans.items()))


def _checked(out: Path, seed: int, data: str, overrides: Sequence[str], device: str) -> dict[str, Session]:
    """A session of every method, once everything that any of them needs is known to be here."""
    from interlingua.report.demo import DEMO
    from interlingua.runs.preflight import check
    from interlingua.runs.session import Session

    sessions = {m.label: Session(m.resolve(overrides, data), out, seed, device) for m in DEMO}
    check(list(sessions.values()))
    return sessions


def _check_writable(report: Path) -> None:
    """Before minutes of work: a report that cannot be written at its end."""
    from interlingua.errors import ConfigError

    if report.is_dir():
        raise ConfigError(f"--report {report} is a folder; name a file, e.g. {report / 'demo.html'}")


def _favourite_or_planted() -> str:
    """MovieLens if it is found or can be fetched, else the generated world, with a note."""
    from interlingua.data.raw import Log
    from interlingua.data.source import locate
    from interlingua.errors import DataError
    from interlingua.progress import say

    try:
        locate(FAVOURITE, Log(quiet=True))
    except DataError as error:
        say(f"{FAVOURITE} is not at hand ({error}).\nThe demo runs on 'planted', a generated world, instead.")
        return "planted"
    return FAVOURITE


def print_table(results: list[Result]) -> None:
    """The headline table, one line per method."""
    from rich.console import Console
    from rich.table import Table

    from interlingua.report.demo import COLUMNS

    table = Table(title="Test users; ± half a 95 % bootstrap interval", title_justify="left")
    table.add_column("method", no_wrap=True)
    for protocol, part, metric in COLUMNS:
        table.add_column(f"{metric}\n{protocol}\n{part or 'all items'}", justify="right")
    for result in results:
        cells = [result.cell(*column) for column in COLUMNS]
        texts = ["-" if c is None else f"{c.value:.3f} ±{(c.high - c.low) / 2:.3f}" for c in cells]
        table.add_row(result.method.label, *texts)
    Console(width=max(112, Console().width)).print(table)
    for name, report in results[0].reports.items():
        print(f"protocol {name}: {report['protocol']}")
        for warning in report.get("warnings", ()):
            print(f"  warning: {warning}")


def print_user(shown: Shown) -> None:
    """One user's history, recommendations and reason."""
    from interlingua.report.demo import author

    print(f"\nuser {shown.user}")
    print("  history (latest last): " + " | ".join(shown.history))
    print(f"  held out:              {shown.held_out}")
    for label, titles in shown.answers.items():
        marked = [f"*{title}*" if title == shown.held_out else title for title in titles]
        print(f"  {label + ':':<22} " + " | ".join(marked))
    if shown.sentence:
        print(f"  why {shown.explained}?")
        print(f"    {shown.sentence} {author(shown)}")
        for title, influence in shown.support:
            print(f"      supported by: {title} (score {influence:+.3g} with it)")


def _example(result: Result) -> str:
    data = result.session.data
    popular = data.split.train.item_counts.argsort()[::-1][:3]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([str(data.split.train.item_ids[row]) for row in popular])
    return shlex.quote(line.getvalue())


def _json(results: list[Result], shown: list[Shown], findings: Sequence[str], report: Path) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "methods": {
            r.method.label: {
                "run": str(r.run),
                "recipe": r.session.recipe.name,
                "seed": r.session.seed,
                "note": r.method.note,
                "metrics": {name: report["metrics"] for name, report in r.reports.items()},
                "slices": {name: report["slices"] for name, report in r.reports.items()},
                "seconds": r.seconds,
            }
            for r in results
        },
        "findings": list(findings),
        "users": [asdict(one) for one in shown],
        "report": str(report),
    }


COMMANDS = {"demo": demo}
