"""A-LLMRec's comparison with an equal budget: ``interlingua bench a-llmrec``, as a result that pages show.

    python benchmarks/quality/comparison.py --data movielens-small --tables 1,4 --samples 160 --out RESULT.json

Every ranker that is trained reads as many histories (``--samples``). Most learn one answer from each; ``sequence-head``
(the aligned mixture) learns one at every position. Backbones and alignments have their recipes' own training, and are
shared. ``tables`` has, for each table, its rows (the paper's numbers in columns of their own), its tests and its notes;
``training``: histories, steps and seconds of rankers.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from header import header

from interlingua.bench.jobs import Request, seeds_of
from interlingua.bench.spec import RowOptions, Spec, load_spec
from interlingua.bench.whole import Bench, plan_of, run
from interlingua.config import read_toml
from interlingua.runs import recipe as recipes

BATCH, EPOCHS = 4, 2
FAST = "ranker.precision=bf16"
"""fast on this kind of processor, and no option of a method"""


def trained_ranker(row: RowOptions) -> bool:
    """Whether a recipe trains a ranker."""
    return "fit" in read_toml(recipes.find(row.recipe)).get("ranker", {})


def with_steps(spec: Spec, steps: dict[str, int]) -> Spec:
    """The comparison in which rows train their rankers for so many steps of :data:`BATCH` histories."""
    methods = dict(spec.methods)
    for name, count in steps.items():
        row = methods[name]
        size = [f"ranker.fit.batch_size={BATCH}", f"ranker.fit.epochs={EPOCHS}"]
        own = [*row.overrides, *size, f"ranker.fit.steps_per_epoch={max(1, round(count / EPOCHS))}"]
        methods[name] = row.model_copy(update={"overrides": own})
    return spec.model_copy(update={"methods": methods})


def ranker_of(root: Path, run_folder: str) -> dict[str, Any]:
    """Steps and seconds of the ranker's training that a run rests on; empty: none was trained."""
    parents = _card(root / run_folder)["parents"]
    if "rank" not in parents:
        return {}
    card = _card(root / parents["rank"]["folder"])
    if not card.get("steps"):
        return {}
    seconds, steps = float(card["seconds"]), int(card["steps"])
    return {"steps": steps, "histories": steps * BATCH, "seconds": round(seconds), "a step": round(seconds / steps, 3)}


def _card(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    return found


def trainings(made: Bench) -> list[dict[str, Any]]:
    """One line for each run that trained a ranker."""
    assert made.running is not None
    out = []
    for job, outcome in made.running.done.items():
        found = ranker_of(made.request.out, Path(outcome.run).name)
        if found:
            out.append({"method": job.row, "setting": job.setting, "seed": job.seed} | found)
    return out


def shown(table: dict[str, Any]) -> dict[str, Any]:
    """A table whose rows are flat: value and interval of every column, the paper's numbers beside them."""
    rows = []
    for row in table["rows"]:
        line: dict[str, Any] = {"method": row["method"]}
        for column in (each["name"] for each in table["columns"]):
            cell = row.get(column)
            if cell is None:
                continue
            line[column] = round(cell["value"], 4)
            if "low" in cell:
                line[f"{column} interval"] = f"{cell['low']:.3f} to {cell['high']:.3f}"
            line["seeds"] = cell["seeds"]
        for name, paper in table["paper"].items():
            line[f"paper: {name}"] = paper["rows"].get(row["method"])
        rows.append(line)
    return {"title": table["title"], "rows": rows, "tests": table["tests"], "notes": table["notes"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--tables", default="1,4")
    parser.add_argument("--methods", nargs="*", default=[], help="rows (default: all of the tables)")
    parser.add_argument("--samples", type=int, default=320, help="histories that every ranker is trained on")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--max-users", type=int, default=150)
    parser.add_argument("--set", action="append", default=[], help="override, e.g. data.max_users=2000")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    spec = load_spec("a-llmrec")
    steps = {name: options.samples // BATCH for name, row in spec.methods.items() if trained_ranker(row)}
    request = Request(
        options.data, options.runs, seeds_of(options.seeds), (FAST, *options.set), options.max_users, None, "cpu"
    )
    tables = [each.strip() for each in options.tables.split(",")]
    made = plan_of(
        "a-llmrec", with_steps(spec, steps), request, tables=tables, methods=options.methods, estimated=False
    )

    def write() -> None:
        plain = made.to_json()
        result = {
            **header(__file__), "data": plain["data"], "seeds": plain["seeds"], "users": options.max_users,
            "tables": {table["table"]: shown(table) for table in plain["tables"]}, "training": trainings(made),
            "failed": plain["failed"],
        }  # fmt: skip
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    run(made, after_each=write)
    write()


if __name__ == "__main__":
    main()
