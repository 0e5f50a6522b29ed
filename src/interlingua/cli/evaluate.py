"""``interlingua evaluate``: measure a finished run again, under other protocols or on the validation part."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any

import typer

from interlingua.cli.options import AsJson, Device, DryRun, Overrides, RunPath, Trust


class MeasuredPart(StrEnum):
    """What may be measured."""

    test = "test"
    valid = "valid"


def evaluate(
    run: RunPath,
    protocols: Annotated[
        list[str] | None,
        typer.Option("--protocol", help="full, sampled-20, ... (interlingua list protocols). Repeatable."),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", help="Beside the protocol's own: coverage@10, ... (interlingua list metrics)."),
    ] = None,
    part: Annotated[
        MeasuredPart | None, typer.Option(help="test (default), or valid while options are being chosen.")
    ] = None,
    max_users: Annotated[
        int | None, typer.Option(min=1, help="A deterministic sample of the users (default: all).")
    ] = None,
    other: Annotated[
        str | None,
        typer.Option(
            "--on", help="Another dataset: what the run carries over to it by its items' texts (its test part)."
        ),
    ] = None,
    overrides: Overrides = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Of sampled candidates and of the sample of users (default: the run's)."),
    ] = None,
    device: Device = "auto",
    trust: Trust = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Measure a finished run; the new numbers are stored beside the old ones."""
    from interlingua.cli.run import print_metrics, summary
    from interlingua.errors import ConfigError
    from interlingua.runs import stages
    from interlingua.runs.measuring import evaluate_options
    from interlingua.runs.opening import open_session

    changed = changes(overrides or [])
    chosen = None if part is None else part.value  # older pydantic takes no member of an enumeration for its text
    given = {"protocols": protocols, "metrics": metrics, "part": chosen, "max_users": max_users, "negatives_seed": seed}
    changed |= {key: value for key, value in given.items() if value not in (None, [])}
    session = open_session(run, device, trust=trust)
    old = session.recipe.evaluate.model_dump() | {"part": "test", "max_users": None}
    options = evaluate_options(old | changed, "interlingua evaluate")
    if other is not None:
        if dry_run:
            raise ConfigError("evaluate --on trains nothing, so there is no plan to show; leave --dry-run out")
        across(session, other, options, changed.get("metrics", ()), as_json)
        return
    if dry_run:
        _plan(session, options, as_json)
        return
    session.done["evaluate"] = stages.reevaluate(session, options)
    result = summary(session)
    if as_json:
        print(json.dumps(result))
        return
    print_metrics(result)
    print(f"\nrun: {result['run']}")


def _plan(session: Any, options: Any, as_json: bool) -> None:
    from interlingua.cli.plans import plan_table
    from interlingua.runs.planner import describe
    from interlingua.runs.session import remeasured

    rows = describe(remeasured(session, options))
    print(json.dumps(rows, indent=1) if as_json else plan_table(rows))


def across(session: Any, other: str, options: Any, metrics: Sequence[str], as_json: bool) -> None:
    """Measures the run on another dataset, filtered and split as its own; ``metrics`` beside the protocols' own."""
    from interlingua.cli.run import print_metrics
    from interlingua.runs.cross_domain import measure_across, other_data
    from interlingua.runs.session import Session

    recipe = replace(session.recipe, evaluate=options)
    changed = Session(recipe, session.root, session.seed, session.device, dict(session.done))
    data = other_data(changed, other)
    made = measure_across(
        changed, data, options.protocols, max_users=options.max_users, seed=options.negatives_seed, part=options.part,
        metrics=metrics,
    )  # fmt: skip
    if as_json:
        reports = {name: report.to_json() for name, report in made.reports.items()}
        run = str(session.done["evaluate"].path)
        print(json.dumps({"run": run, "on": other, "report": str(made.path), "notes": made.notes, "reports": reports}))
        return
    title = f"{recipe.name} on {data.card['name']}"
    names = ("protocol", "metrics", "intervals")
    protocols, values, around = ({name: vars(r)[each] for name, r in made.reports.items()} for each in names)
    print_metrics({"recipe": title, "protocols": protocols, "metrics": values, "intervals": around})
    print(f"\n{len(data.catalogue):,} items of {data.card['name']}, filtered and split as the run's own data")
    for note in made.notes:
        print(f"note: {note}")
    print(f"report: {made.path}")


def changes(overrides: list[str]) -> dict[str, Any]:
    """``--set evaluate.retrieve=100`` as options of [evaluate].

    Raises:
        ConfigError: an option of another section, which a finished run cannot change.
    """
    from interlingua.config import parse_overrides
    from interlingua.errors import ConfigError

    values = parse_overrides(overrides)
    for section, table in values.items():
        if section != "evaluate" or not isinstance(table, dict):
            raise ConfigError(
                f"interlingua evaluate changes [evaluate] only (--set evaluate.retrieve=100), got {section}; what was "
                "trained is as it is: interlingua run with the same --set makes another run"
            )
    found: dict[str, Any] = values.get("evaluate", {})
    return found


COMMANDS = {"evaluate": evaluate}
