"""``interlingua drift``: what changed between two versions, and what must change with it."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlingua.cli.options import AsJson, Device, Trust

if TYPE_CHECKING:
    from interlingua.life.drift import Drift


def drift(
    old: Annotated[str, typer.Argument(help="Folder of a run, or a version of the store.")],
    new: Annotated[str, typer.Argument(help="The other one.")],
    store: Annotated[str | None, typer.Option("--store", help="Where versions are looked up.")] = None,
    users: Annotated[int, typer.Option(min=0, help="Users whose lists are compared.")] = 1000,
    k: Annotated[int, typer.Option("--k", min=1, help="Length of the lists.")] = 50,
    tolerance: Annotated[float, typer.Option(min=0, help="Relative difference of vectors that is none.")] = 0.05,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the report, the rotation and the rotated vectors.")
    ] = None,
    device: Device = "auto",
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Compare two versions: vectors, neighbours, norms, lists. Says: reuse, rotate, or re-align."""
    from interlingua.life.drift import drift as measured
    from interlingua.life.drift import write
    from interlingua.life.versions import folder_of, open_store
    from interlingua.recommender import load

    with nullcontext() if store is None else open_store(store) as opened:
        versions = [load(folder_of(name, opened), device, trust=trust) for name in (old, new)]
    report = measured(*versions, users=users, k=k, tolerance=tolerance)
    if out is not None:
        write(report, versions[1], out)
    print(json.dumps(report.to_json()) if as_json else rendered(report))


def rendered(report: Drift) -> str:
    """The report for people."""
    numbers = {
        "vectors differ by": report.difference,
        "after the best rotation": report.difference_rotated,
        "same nearest neighbours": report.neighbours,
        "overlap of lists (RBO)": report.lists,
        "of the tenth with the least": report.lists_low,
    }
    lines = [f"{report.old} -> {report.new}: {report.decision} ({report.reason})"]
    lines += [f"  {name:<28} {'-' if value is None else f'{value:.4f}'}" for name, value in numbers.items()]
    if report.norms is not None:
        norms = ", ".join(f"{name} {value:.3f}" for name, value in report.norms.items())
        lines.append(f"  {'norms, new / old':<28} {norms}")
    moved = f"{report.items_gone:,} gone, {report.items_new:,} new"
    lines.append(f"  {report.items:,} items in both, {moved}; lists of {report.users:,} users")
    return "\n".join(lines)


COMMANDS = {"drift": drift}
