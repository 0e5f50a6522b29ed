"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _device(name: str) -> str:
    """Refuses a missing device before any work, even if nothing would be trained."""
    if name == "auto":  # most commands: their first message need not wait for torch
        return name
    from interlingua.training.loop import check_device

    return check_device(name)


Out = Annotated[Path, typer.Option("--out", help="Folder of runs; finished stages in it are reused.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a recipe's option: section.key=value. Repeatable.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Every random number follows from it.")]
Device = Annotated[str, typer.Option("--device", callback=_device, help="auto, cpu, cuda or mps.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show stages, keys and estimates; run nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout; progress goes to stderr.")]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        help="Time for training the members of a recipe that joins several, e.g. 10min; optional ones that would take "
        "longer are left out.",
    ),
]
Data = Annotated[
    str | None, typer.Option("--data", help="Dataset name, file or folder, instead of the recipe's [data].")
]
Reasons = Annotated[
    str,
    typer.Option(
        "--reasons",
        help="Who words reasons: auto (the ranker's language model, else a rule), rule, or a model's name or path.",
    ),
]
RunPath = Annotated[Path, typer.Argument(help="Folder of a finished run (runs/evaluate-...).")]
StorePlace = Annotated[
    str, typer.Option("--store", help="The service's store: a file, or postgresql://user:password@host/database.")
]
LogRequests = Annotated[
    float,
    typer.Option("--log-requests", min=0, max=1, help="Fraction of the users whose requests go into the store's log."),
]
Interleave = Annotated[
    str | None,
    typer.Option("--interleave", help="A version (or run) whose items are interleaved; interlingua shadow judges."),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="The recipe or run may import code, read environment variables and use the network (docs/security.md).",
    ),
]
