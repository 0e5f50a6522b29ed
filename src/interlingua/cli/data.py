"""``interlingua data``: list the known datasets, prepare one, describe one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlingua.cli.options import AsJson, Seed

if TYPE_CHECKING:
    from interlingua.data.prepare import Dataset

app = typer.Typer(help="List, prepare and describe datasets.", no_args_is_help=True)

Source = Annotated[str, typer.Argument(help="A dataset's name (interlingua data list), a file or a folder.")]
DataSets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="An option of [data], with or without data. before it: filter.min_user=5, split=ratio, "
        "columns.user_id=reader, ... Repeatable.",
    ),
]


@app.command("list")
def listing(as_json: AsJson = False) -> None:
    """List the datasets known by name, where each is found, and the readers."""
    from interlingua import registry
    from interlingua.data.datasets import named
    from interlingua.data.source import present

    rows = []
    for known in named().values():
        folder = present(known)
        state = (
            "generated" if known.generated else str(folder) if folder else "download" if known.download else "by hand"
        )
        rows.append(
            {"name": known.name, "where": state, "about": known.about, "licence": known.licence, "url": known.url}
        )
    readers = registry.names("data")
    if as_json:
        print(json.dumps({"datasets": rows, "readers": readers}, ensure_ascii=False))
        return
    for row in rows:
        print(f"{row['name']:<20} {row['about']}\n{'':<20} [{row['where']}] {row['licence']}")
    print(f"\nreaders of files and folders: {', '.join(readers)}")


@app.command()
def prepare(
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="Folder to write: a new or empty one, or a prepared dataset.")],
    overrides: DataSets = None,
    seed: Seed = 7,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be kept; write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read, check, filter and split a source; write it as a folder of parquet files and one card."""
    from interlingua.data.prepare import save
    from interlingua.data.prepared import check_target

    if not dry_run:
        check_target(out)  # before the minutes that reading may take
    prepared = _prepared(source, overrides, seed)
    if not dry_run:
        save(prepared, out)
    if as_json:
        print(json.dumps({"folder": None if dry_run else str(out), **prepared.card}, ensure_ascii=False))
        return
    counts = prepared.card["counts"]
    print(
        f"{prepared.card['name']}: {counts['users']:,} users, {counts['items']:,} items, {counts['events']:,} events "
        f"(train {counts['train']:,}, valid {counts['valid']:,}, test {counts['test']:,}; {prepared.split.protocol})"
    )
    print("nothing written (--dry-run)" if dry_run else f"written to {out}; fingerprint {prepared.fingerprint[:12]}")


@app.command()
def describe(
    source: Source,
    overrides: DataSets = None,
    seed: Seed = 7,
    plots: Annotated[Path | None, typer.Option("--plots", help="Write SVG plots to this folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show sizes, histograms, text coverage, time, cold shares and warnings of a source or a prepared folder."""
    from interlingua.data.describe import describe as description
    from interlingua.data.describe import render
    from interlingua.data.prepare import load
    from interlingua.data.prepared import is_prepared
    from interlingua.progress import say

    prepared = load(source) if not overrides and is_prepared(source) else _prepared(source, overrides, seed)
    facts = description(prepared)
    if plots is not None:
        from interlingua.report.plots import write_plots

        facts["plots"] = [str(path) for path in write_plots(prepared, plots)]
        say(f"plots: {', '.join(facts['plots'])}")
    print(json.dumps(facts, ensure_ascii=False) if as_json else render(facts))


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Folder with RLMRec's published files (trn_mat.pkl and so on).")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write parquet files to.")],
    as_json: AsJson = False,
) -> None:
    """Turn RLMRec's published pickles into parquet, vectors included; nothing in them is run."""
    from interlingua.data.files.rlmrec_pickles import convert as converted

    rows = converted(source, out)
    if as_json:
        print(json.dumps({"folder": str(out), "files": rows}, ensure_ascii=False))
        return
    print("\n".join(f"{name}: {count:,} rows" for name, count in rows.items()))
    print(f"written to {out}; use it with --data {out} --set data.split=given")


@app.command()
def export(
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="Folder to write: a new or empty one.")],
    form: Annotated[str, typer.Option("--to", help="recbole, implicit, rectools, lenskit or huggingface.")],
    overrides: DataSets = None,
    seed: Seed = 7,
    as_json: AsJson = False,
) -> None:
    """Write a source or a prepared folder as another library reads it: the same events, the same split."""
    from interlingua.data.export import export as exported
    from interlingua.data.prepare import load
    from interlingua.data.prepared import is_prepared

    prepared = load(source) if not overrides and is_prepared(source) else _prepared(source, overrides, seed)
    folder = exported(prepared, form, out)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    if as_json:
        print(json.dumps({"folder": str(folder), "form": form, "files": files}, ensure_ascii=False))
        return
    print("\n".join(files))
    print(f"written to {folder}; the split is {prepared.split.protocol}")


def _prepared(source: str, overrides: list[str] | None, seed: int) -> Dataset:
    from interlingua.config import build, parse_overrides
    from interlingua.data.prepare import DataConfig, prepare_config
    from interlingua.progress import say
    from interlingua.runs.recipe import agree_on_data, data_section

    parsed = parse_overrides([f"data.{text.removeprefix('data.')}" for text in overrides or []])
    agree_on_data(parsed, source, "the dataset")
    values, notes = data_section({**parsed.get("data", {}), "name": source}, None, parsed.get("data"))
    for note in notes:
        say(note)
    # "--set columns.user_id=7" names the column "7", and ids of columns are text whatever TOML makes of them
    for table in ("columns", "domain"):
        if isinstance(values.get(table), dict):
            values[table] = {key: str(value) for key, value in values[table].items()}
    return prepare_config(build(DataConfig, {**values, "name": source}, "[data]"), seed)


COMMANDS = {"data": app}
