"""``interlingua bench``: comparisons that need many runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from interlingua.cli.options import AsJson, Device, Out

app = typer.Typer(help="Comparisons that need many runs.", no_args_is_help=True)
DataName = Annotated[str, typer.Option("--data", help="A dataset's name, a file or a folder.")]
Tables = Annotated[str | None, typer.Option("--tables", help="Ids, e.g. 1,4,5 (default: all; --dry-run shows them).")]
Methods = Annotated[
    list[str] | None, typer.Option("--methods", help="Rows to run, by name. Repeatable (default: all).")
]
BudgetOfAll = Annotated[
    str | None, typer.Option("--budget", help="Time for all, e.g. 30min; what has no room is named, not run.")
]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Number of training seeds: 7, 8, 9, ...")]
MaxUsers = Annotated[int | None, typer.Option(help="Measure a random subset of the users.", min=1)]
OverridesOfAll = Annotated[
    list[str] | None,
    typer.Option("--set", help="section.key=value: [data] for all, other options for the rows that have them."),
]
Save = Annotated[Path | None, typer.Option("--save", help="File for the JSON, rewritten after every run.")]
Target = Annotated[str | None, typer.Option("--target", help="The other dataset, for tables across domains.")]
Plan = Annotated[bool, typer.Option("--dry-run", help="Show what would run and how long it may take; train nothing.")]


@app.callback()
def bench() -> None:
    """Comparisons that need many runs."""


def compared(name: str) -> Callable[..., None]:
    """The command of a comparison in ``bench/specs/``."""

    def command(
        data: DataName,
        tables: Tables = None,
        methods: Methods = None,
        budget: BudgetOfAll = None,
        seeds: Seeds = 1,
        target: Target = None,
        max_users: MaxUsers = None,
        overrides: OverridesOfAll = None,
        out: Out = Path("runs"),
        save: Save = None,
        device: Device = "auto",
        dry_run: Plan = False,
        as_json: AsJson = False,
    ) -> None:
        from interlingua.bench.jobs import Request, seeds_of
        from interlingua.bench.spec import load_spec
        from interlingua.bench.whole import plan_of, run
        from interlingua.progress import seconds_of

        limit = None if budget is None else seconds_of(budget)
        request = Request(data, out, seeds_of(seeds), tuple(overrides or ()), max_users, target, device)
        spec = load_spec(name)
        made = plan_of(
            name, spec, request, tables=listed(tables), methods=methods or (), budget=limit,
            estimated=dry_run or limit is not None,
        )  # fmt: skip
        if not dry_run:
            run(made, budget=limit, save=save)
        print(json.dumps(made.to_json(), indent=1) if as_json else made.plan() if dry_run else made.markdown())
        end(made.failed)

    return command


def end(failed: Mapping[str, str]) -> None:
    """Ends the command with 2 where a row failed, and names it: the others are in the tables."""
    if failed:
        lines = "\n".join(f"  {name}: {why.splitlines()[0]}" for name, why in failed.items())
        typer.echo(f"error: {len(failed)} failed:\n{lines}", err=True)
        raise typer.Exit(2)


def listed(text: str | None) -> Sequence[str]:
    """``1,4, 5`` as ids."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


HELP = {
    "a-llmrec": "A-LLMRec's whole comparison, its scenarios, and the systems that came after it.",
    "rlmrec": "RLMRec's comparison: graph models alone and trained along with texts, and controls.",
    "ra-rec": "RA-Rec's comparison: ID vectors as key/value prompts, their parts, and ID models.",
}
for _name, _about in HELP.items():
    app.command(_name, help=_about)(compared(_name))


@app.command("all-round")
def all_round(
    data: DataName,
    tables: Annotated[
        str | None, typer.Option("--tables", help="leave-one-out,global-time,item-cold (default: all three).")
    ] = None,
    splits: Annotated[list[str] | None, typer.Option("--split", help="The same, one by one. Repeatable.")] = None,
    methods: Methods = None,
    budget: BudgetOfAll = None,
    seeds: Seeds = 1,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", help="Training seeds (7); the first also divides the data.")
    ] = None,
    recipes: Annotated[
        list[str] | None, typer.Option("--recipe", help="A further recipe to measure, by name or path.")
    ] = None,
    max_users: MaxUsers = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="data.key=value or evaluate.key=value, for all.")
    ] = None,
    out: Out = Path("runs"),
    save: Save = None,
    device: Device = "auto",
    dry_run: Plan = False,
    as_json: AsJson = False,
) -> None:
    """Hold every method against the best simple one, for every kind of item and user; the worst slice counts."""
    from interlingua.bench import all_round as measures
    from interlingua.bench.jobs import seeds_of
    from interlingua.progress import seconds_of
    from interlingua.report.side_by_side import Method

    more = [Method(Path(recipe).stem, recipe) for recipe in recipes or ()]
    named = [each for each in methods or () if each not in {method.label for method in more}]
    known = measures.chosen((*measures.SIMPLE, *measures.FURTHER), named) if named or not methods else ()
    chosen = (*known, *more)
    limit = None if budget is None else seconds_of(budget)
    made = measures.measure(
        data, methods=chosen, splits=tuple(splits or listed(tables) or measures.SPLITS),
        seeds=tuple(seed or seeds_of(seeds)), out=out, overrides=tuple(overrides or ()), max_users=max_users,
        device=device, budget=limit, dry_run=dry_run,
    )  # fmt: skip
    if save is not None:
        save.parent.mkdir(parents=True, exist_ok=True)
        save.write_text(json.dumps(made.to_json(), indent=1) + "\n", encoding="utf-8")
    print(json.dumps(made.to_json(), indent=1) if as_json else made.plan() if dry_run else made.markdown())
    end(made.failed_methods)


COMMANDS = {"bench": app}
