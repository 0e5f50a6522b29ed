"""``interlingua report``: a page of several runs that opens without a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from interlingua.cli.options import AsJson


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs, or of many; seeds become one row.")],
    out: Annotated[Path, typer.Option("--out", help="HTML file to write.")] = Path("report.html"),
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", help="name@k. Repeatable: the first orders and is tested.")
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="Only this protocol (default: all).")] = None,
    reference: Annotated[
        str | None, typer.Option(help="Test every row against this one (default: the best of each leaderboard).")
    ] = None,
    title: Annotated[str, typer.Option(help="Of the page.")] = "Runs",
    as_json: AsJson = False,
) -> None:
    """Write one HTML page of several runs: leaderboards with intervals, what differs, cost, paired tests."""
    from interlingua.report.html import write_report
    from interlingua.report.runs_page import page_of

    page = page_of(runs, metrics=metrics or (), protocol=protocol, reference=reference, title=title)
    written = write_report(out, page)
    if as_json:
        print(json.dumps({"report": str(written), "findings": list(page.summary)}))
        return
    print("\n".join(page.summary))
    print(f"report: {written}")


COMMANDS = {"report": report}
