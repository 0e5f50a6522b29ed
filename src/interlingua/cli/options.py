"""Options that several commands share, so that they are spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option("--out", help="Folder of runs; finished stages in it are reused.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="Override a recipe's option: section.key=value. Repeatable.")
]
Seed = Annotated[int, typer.Option("--seed", help="Every random number follows from it.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show stages, keys and estimates; run nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; progress goes to stderr.")]
Data = Annotated[
    str | None, typer.Option("--data", help="Dataset name, file or folder, instead of the recipe's [data].")
]
RunPath = Annotated[Path, typer.Argument(help="Folder of a finished run (runs/evaluate-...).")]
