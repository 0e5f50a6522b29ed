"""``interlingua tune``: a recipe's options by trials on the validation part."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from interlingua.cli.options import AsJson, Data, Device, Out, Overrides, Seed, Trust

if TYPE_CHECKING:
    from interlingua.tune.request import Request
    from interlingua.tune.results import Tuned


def tune(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (interlingua list recipes) or a TOML file.")],
    space: Annotated[
        Path | None,
        typer.Option(
            "--space",
            help="TOML file of what each option may be, e.g. [backbone] l2 = { low = 1.0, high = 1000.0, log = true }, "
            "embedding_dim = [32, 64] (default: the one that ships for the recipe).",
        ),
    ] = None,
    trials: Annotated[int, typer.Option("--trials", min=1, help="How many in all; those there are count.")] = 20,
    data: Data = None,
    metric: Annotated[str, typer.Option("--metric", help="What is best, on the validation part.")] = "ndcg@10",
    protocol: Annotated[str, typer.Option("--protocol", help="interlingua list protocols.")] = "full",
    sampler: Annotated[Literal["tpe", "random"], typer.Option("--sampler", help="Who proposes.")] = "tpe",
    prune: Annotated[
        bool, typer.Option("--prune/--no-prune", help="End trainings early whose validation is below the median.")
    ] = True,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Begin no trial after so long, e.g. 30min; call again to go on.")
    ] = None,
    out: Out = Path("runs"),
    storage: Annotated[
        Path | None, typer.Option("--storage", help="SQLite file of the study (default: a file in OUT/tune).")
    ] = None,
    overrides: Overrides = None,
    seed: Seed = 7,
    device: Device = "auto",
    trust: Trust = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the space and check it; run nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Choose a recipe's options by trials on the validation part; the test part stays sealed."""
    from interlingua.progress import seconds_of
    from interlingua.tune.request import Request
    from interlingua.tune.space import read_space
    from interlingua.tune.study import tune as run_trials

    request = Request(
        recipe, read_space(recipe if space is None else space), data, metric, protocol, overrides or (), seed,
        sampler, prune, out, storage, device, trust,
    )  # fmt: skip
    if dry_run:
        request.check()
        print(_space(request, as_json))
        return
    found = run_trials(request, trials, None if budget is None else seconds_of(budget))
    again = _measure(request, found)
    if as_json:
        print(json.dumps(found.to_json() | {"next": again}))
        return
    _show(found)
    print(f"\nstudy: {found.storage}; the test part was not opened")
    if again:
        print(f"next, once, the numbers to report: {again}")


def _space(request: Request, as_json: bool) -> str:
    entries = {name: vars(entry) for name, entry in request.space.items()}
    if as_json:
        return json.dumps(entries)
    return "\n".join(f"{name}: {', '.join(f'{k} {v}' for k, v in each.items())}" for name, each in entries.items())


def _measure(request: Request, found: Tuned) -> str:
    """The command that measures the best options on the test part; nothing while there is no best trial."""
    from interlingua.tune.space import overrides_of

    if found.best is None:
        return ""
    words = ["interlingua", "run", request.recipe]
    words += [] if request.data is None else ["--data", request.data]
    words += [] if request.seed == 7 else ["--seed", str(request.seed)]
    words += [] if str(request.out) == "runs" else ["--out", str(request.out)]
    words += ["--trust"] if request.trust else []
    for each in (*request.overrides, *overrides_of(found.best.options)):
        words += ["--set", each]
    return shlex.join(words)


def _show(found: Tuned) -> None:
    """The trials, the best first, on the terminal; a column for each option."""
    from rich.console import Console
    from rich.table import Table

    from interlingua.progress import duration

    table = Table(title=f"{found.recipe}, protocol {found.protocol} on the validation part", title_justify="left")
    options = list(dict.fromkeys(name for trial in found.trials for name in trial.options))
    for name in ("trial", found.metric, "95 % interval", "time", *(name.rsplit(".", 1)[-1] for name in options)):
        table.add_column(name, overflow="fold")
    for trial in found.ordered:
        value = trial.state if trial.value is None else f"{trial.value:.4f}"
        interval = "" if trial.interval is None else "{:.3f}-{:.3f}".format(*trial.interval)
        chosen = (_in_short(trial.options[name]) for name in options if name in trial.options)
        table.add_row(str(trial.number), value, interval, duration(trial.seconds), *chosen)
    Console().print(table)
    if failed := [trial for trial in found.trials if trial.state == "failed"]:
        print(f"{len(failed)} of {len(found.trials)} trials failed; the last: {failed[-1].why}")
    print(f"{len(found.trials)} trials in {duration(found.seconds)}")


def _in_short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


COMMANDS = {"tune": tune}
