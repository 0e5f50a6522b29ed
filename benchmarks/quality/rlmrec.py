"""RLMRec: its six base models on the paper's own split, and both alignments against controls on datasets with texts.

    python benchmarks/quality/rlmrec.py base --seeds 7 8 9 --out results/rlmrec-base.json
    python benchmarks/quality/rlmrec.py align --data xrec-yelp-profiles --seeds 7 8 9 --out results/rlmrec-xrec.json

``base`` sets Recall@20 and NDCG@20 beside the paper's Amazon-book rows. ``align`` trains one backbone alone, with each
alignment, with shuffled texts, and what is cheaper, on one split; tests over users and seeds are against the backbone
alone, one Holm family per table. Batch, learning rate and patience are the same for all. What is finished is reused,
the result is rewritten after each run, and rows of ``align`` that the file has already are not run again: what tests
need of them stands in the ``.users.npz`` beside it, so that a table goes on without the run folders. ``--anchors 512``:
contrastive losses, of backbones and of aligners, from at most so many rows of a batch (the same loss in expectation).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from per_user import UserHits
from rlmrec_recipes import CONTRASTIVE, SOURCES, VARIANTS, dataset, recipe_of, text_of
from rlmrec_results import (
    PAPER,
    against_paper,
    curve,
    finish,
    header,
    measured,
    numbers,
    shortened,
    users_file,
    write,
)  # fmt: skip
from safetensors.torch import load_file

from interlingua.data.prepare import save
from interlingua.evaluate.protocol import evaluate
from interlingua.evaluate.result import load_report
from interlingua.progress import say
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.opening import open_session
from interlingua.runs.session import Session

SIMPLE = {"popularity": "pop", "item kNN (cosine)": "itemknn", "EASE": "ease", "text kNN": "textknn"}


def base(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """The six base models with the paper's settings."""
    rows: list[dict[str, Any]] = []
    result["curves"] = {}
    for seed in options.seeds:
        for name in options.backbones:
            say(f"\n== {name}, seed {seed}")
            drawn = options.anchors is not None and name in CONTRASTIVE
            changes = [f"backbone.contrast_anchors={options.anchors}"] if drawn else []
            resolved = recipes.load(f"paper/rlmrec/amazon-{name}", changes)
            session = stages.run(resolved, out=options.runs, seed=seed, device="cpu")
            rows.append({"backbone": name, "seed": seed} | measured(session))
            result["curves"].setdefault(name, {})[str(seed)] = curve(session)
            result["mean"] = [against_paper(n, rows) for n in PAPER if any(r["backbone"] == n for r in rows)]
            result["rows"] = rows
            write(result, options.out)


def align(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Base, Con, Gen, controls and what is cheaper, on one dataset and split."""
    folder = Path(options.runs) / "datasets" / options.data
    if not folder.is_dir():
        save(dataset(options.data), folder)
    rows: list[dict[str, Any]] = []
    if options.out.is_file():
        rows = json.loads(options.out.read_text(encoding="utf-8"))["rows"]
    users = UserHits(users_file(options.out))
    for row in rows:
        if row["variant"] and row["run"] not in users.hits:
            raise SystemExit(
                f"{options.out} has a row of {row['method']}, seed {row['seed']}, whose run {row['run']} is not in "
                f"{users.file}: name the two files that belong together, or another --out"
            )
    done = {(row["method"], row["seed"]) for row in rows}
    finish(result, rows, users, options.out)
    for seed in options.seeds:
        for backbone in options.backbones:
            for variant in options.variants:
                method = f"{backbone}: {variant}"
                if (method, seed) in done:
                    continue
                say(f"\n== {options.data}, {method}, seed {seed}")
                values = recipe_of(backbone, variant, options.data, folder, options.anchors, options.profiles)
                session = stages.run(recipes.resolve(values, "rlmrec"), out=options.runs, seed=seed, device="cpu")
                row = {"method": method, "backbone": backbone, "variant": variant, "seed": seed} | measured(session)
                users.add(row["run"], load_report(session.done["evaluate"].path / "protocols" / "rlmrec"))
                rows.append(row)
                finish(result, rows, users, options.out)
        if seed == options.seeds[0] and not options.no_simple:
            for method, name in SIMPLE.items():
                if any(row["method"] == method for row in rows):
                    continue
                values = {"data": {"name": str(folder)}, "evaluate": {"protocols": ["rlmrec"]}}
                shipped = recipes.load(name).resolved()
                values |= {part: shipped[part] for part in ("backbone", "text") if part in shipped}
                if name == "textknn":
                    values["text"] = text_of(options.data, {})
                session = stages.run(recipes.resolve(values, name), out=options.runs, seed=seed, device="cpu")
                rows.append({"method": method, "backbone": method, "variant": "", "seed": seed} | measured(session))
                finish(result, rows, users, options.out)


def collect(options: argparse.Namespace) -> None:
    """Reads the runs in the folder anew, whatever process made them, and rewrites the result file from them.

    Base models: every finished ``amazon-*`` run, and unfinished ones by their best checkpoint so far, marked as such.
    Alignment: the runs that the result file names.
    """
    runs = Path(options.runs)
    if options.experiment == "align":
        result = json.loads(options.out.read_text(encoding="utf-8"))
        rows, users = result["rows"], UserHits(users_file(options.out))
        for row in rows:
            report = load_report(runs / row["run"] / "protocols" / "rlmrec")
            row |= numbers(report)
            if row["variant"]:
                users.add(row["run"], report)
        finish(result, rows, users, options.out)
        return
    result = header(__file__) | {"curves": {}}
    rows = []
    for name in options.backbones:
        for folder in sorted(runs.glob(f"evaluate-amazon-{name}-*")):
            session = open_session(folder, "cpu")
            rows.append({"backbone": name, "seed": session.seed} | measured(session))
            result["curves"].setdefault(name, {})[str(session.seed)] = curve(session)
        for folder in sorted(runs.glob(f"train-{name}-*.partial")):
            if (folder / "state.json").is_file() and name not in result["curves"]:
                row, log = unfinished(name, folder, options)
                rows.append(row)
                result["curves"][name] = {str(row["seed"]): log}
    rows.sort(key=lambda row: (list(PAPER).index(row["backbone"]), row["seed"]))
    result["rows"], result["mean"] = (
        rows,
        [against_paper(n, rows) for n in PAPER if any(r["backbone"] == n for r in rows)],
    )
    write(result, options.out)


def unfinished(name: str, folder: Path, options: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The best checkpoint of a training that early stopping has not ended, measured on the test part."""
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    best = {k.removeprefix("best/backbone."): v for k, v in load_file(folder / state["file"]).items() if "best/" in k}
    session = Session(recipes.load(f"paper/rlmrec/amazon-{name}"), Path(options.runs), options.seeds[0], "cpu")
    stages.prepare(session)
    part = session.recipe.backbone
    assert part is not None
    backbone = part.cls(part.config, session.data.split.train)
    backbone.load_state_dict(best)
    report = evaluate(backbone.eval(), session.data.split, "test", protocol="rlmrec", resamples=0)
    row = {"backbone": name, "seed": options.seeds[0]} | numbers(report)
    row |= {"epochs": len(state["epochs"]), "best epoch": state["best_epoch"], "stopped": "by hand"}
    return row, shortened(state["epochs"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=["base", "align"])
    parser.add_argument("--data", default="movielens-small", choices=list(SOURCES))
    parser.add_argument("--backbones", nargs="+", default=None, choices=list(PAPER))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--anchors", type=int, default=None, help="contrast_anchors of backbones and aligners")
    parser.add_argument("--profiles", type=Path, default=None, help="align: folder of the written profiles")
    parser.add_argument("--no-simple", action="store_true", help="align: without popularity, kNN and EASE")
    parser.add_argument("--finished", action="store_true", help="read finished runs anew, train nothing")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.backbones = options.backbones or (list(PAPER) if options.experiment == "base" else ["lightgcn"])
    if options.finished:
        collect(options)
        return
    result = header(__file__)
    {"base": base, "align": align}[options.experiment](options, result)


if __name__ == "__main__":
    main()
