"""``interlingua list`` and ``interlingua runs``: what there is, and what has been made."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from interlingua.cli.options import AsJson, Out


class Kind(StrEnum):
    """What can be listed."""

    recipes = "recipes"
    backbones = "backbones"
    encoders = "encoders"
    aligners = "aligners"
    rankers = "rankers"
    fusions = "fusions"
    sources = "sources"
    datasets = "datasets"
    splits = "splits"
    protocols = "protocols"
    metrics = "metrics"


def listing(
    kind: Annotated[Kind, typer.Argument(help="What to list.")] = Kind.recipes,
    as_json: AsJson = False,
) -> None:
    """List recipes, components, datasets, protocols or metrics, each with its first line of documentation."""
    from interlingua import registry
    from interlingua.runs import recipe

    written: dict[str, str] = {}
    if kind is Kind.recipes:
        rows = {name: _first_comment(recipe.folder() / f"{name}.toml") for name in recipe.shipped()}
    elif kind is Kind.datasets:
        from interlingua.data.datasets import named

        rows = {name: plain(dataset.about or dataset.licence) for name, dataset in named().items()}
    else:
        known = next(each for each, listed in registry.LISTED.items() if listed == kind.value)
        classes = {name: registry.find(known, name) for name in registry.names(known)}
        rows = {name: _first_line(each) for name, each in classes.items()}
        written = {name: _written(kind, name, each) for name, each in classes.items()}
    if as_json:
        print(json.dumps(rows))
        return
    shown = {written.get(name, name): text for name, text in rows.items()}
    if kind is Kind.protocols:
        from interlingua.evaluate.variants import VARIANTS

        shown |= {f"NAME+{name}": variant.about for name, variant in VARIANTS.items()}
    width = max((len(name) for name in shown), default=0) + 2
    print("\n".join(f"{name:<{width}}{text}" for name, text in shown.items()))


def _written(kind: Kind, name: str, component: Any) -> str:
    """``sampled-N``, ``ndcg@k``: as a recipe writes it."""
    if kind is Kind.metrics:
        return f"{name}@k" if component.cut else name
    return f"{name}-N" if kind is Kind.protocols and component.numbered else name


def _first_line(component: type) -> str:
    return plain((component.__doc__ or "").strip().split("\n")[0])


def plain(text: str) -> str:
    """Documentation as a person reads it: ``:class:`~a.b.C``` becomes C, and double backticks go."""
    named = re.sub(r":[\w:]+:`~?([^`<]*?)(?:\s*<[^`]*>)?`", lambda found: found[1].rpartition(".")[2] or found[1], text)
    return named.replace("``", "").replace("`", "")


def _first_comment(path: Path) -> str:
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def runs(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Runs, or folders of runs (default: --out).", show_default=False)
    ] = None,
    out: Out = Path("runs"),
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", help="name@k, e.g. recall@20. Repeatable: the first orders (default: the usual one)."),
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="Only this protocol, e.g. full.")] = None,
    part: Annotated[str | None, typer.Option("--slice", help="Only this slice, e.g. 'cold items'.")] = None,
    stages: Annotated[bool, typer.Option("--stages", help="List the finished stages instead, oldest first.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as markdown.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show which run is best: a leaderboard per dataset and protocol, with intervals, differences and cost."""
    if stages:
        _stages(out, as_json)
        return
    from interlingua.runs.leaderboard import leaderboards

    paths = folders or [out]
    found = [path for path in paths if path.is_dir()]
    boards = leaderboards(found, metrics=metrics or (), protocol=protocol, part=part) if _any_run(found) else []
    if as_json:
        print(json.dumps({"leaderboards": [board.to_json() for board in boards]}))
    elif markdown:
        from interlingua.report.leaderboard_table import to_markdown

        print("\n".join(to_markdown(board) for board in boards))
    elif boards:
        from interlingua.cli.several import show

        show(boards)
    else:
        print(f"no finished run in {', '.join(map(str, paths))} (--stages lists what else is finished)")


def _any_run(paths: list[Path]) -> bool:
    """Whether anything was evaluated there; a single run's folder counts, whatever it holds."""
    return any(any(path.glob("evaluate-*/card.json")) or (path / "card.json").is_file() for path in paths)


def _stages(out: Path, as_json: bool) -> None:
    """The finished stages in a runs folder, oldest first."""
    from interlingua.storage.artifact import listing as stages

    found = stages(out)
    rows = [
        {
            "path": str(a.path), "stage": a.kind, "name": a.card["name"], "key": a.key, "seed": a.card.get("seed"),
            "seconds": a.card["seconds"], "peak_memory_bytes": a.card["peak_memory_bytes"],
        }
        for a in found
    ]  # fmt: skip
    if as_json:
        print(json.dumps(rows))
        return
    if not rows:
        print(f"no finished stages in {out}")
    for row in rows:
        print(f"{row['path']}  seed {row['seed']}  {row['seconds']} s")


COMMANDS = {"list": listing, "runs": runs}
