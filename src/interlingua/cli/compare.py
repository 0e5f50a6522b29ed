"""``interlingua compare``: finished runs side by side, with paired tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from interlingua.cli.options import AsJson


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs, or of many; seeds become one row.")],
    protocol: Annotated[str | None, typer.Option(help="Only this protocol (default: all that the runs share).")] = None,
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", help="name@k, e.g. ndcg@10. Repeatable (default: all).")
    ] = None,
    test: Annotated[str, typer.Option(help="Paired test: bootstrap, wilcoxon or t.")] = "bootstrap",
    reference: Annotated[
        str | None, typer.Option(help="Test every run against this one, by its row's name (default: all pairs).")
    ] = None,
    part: Annotated[str | None, typer.Option("--slice", help="Only this slice, e.g. 'cold items'.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the paired bootstrap.")] = 0,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as markdown.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare runs user by user; numbers of different protocols or users are refused."""
    from interlingua.report.table import to_markdown, to_rich
    from interlingua.runs.reports import compare_runs

    found = compare_runs(runs, protocol=protocol, metrics=metrics, test=test, reference=reference, part=part, seed=seed)
    if as_json:
        print(json.dumps({"comparisons": [each.to_json() for each in found]}))
        return
    if markdown:
        print("\n".join(to_markdown(each) for each in found))
        return
    from rich.console import Console

    console = Console()
    for each in found:
        console.print(to_rich(each))


COMMANDS = {"compare": compare}
