"""RLMRec: its six base models on the paper's own split, and both alignments against controls on datasets with texts.

    python benchmarks/quality/rlmrec.py base --seeds 7 8 9 --out results/rlmrec-base.json
    python benchmarks/quality/rlmrec.py align --data xrec-yelp-profiles --seeds 7 8 9 --out results/rlmrec-xrec.json

``base`` sets Recall@20 and NDCG@20 beside the paper's Amazon-book rows. ``align`` trains one backbone alone, with each
alignment, with shuffled texts, and what is cheaper, on one split; paired tests are against the backbone alone. Batch,
learning rate and patience are the same for all. What is finished is reused, the result is rewritten after each run,
and rows of ``align`` that the file has already are not run again. ``--anchors 512``: contrastive losses, of backbones
and of aligners, from at most so many rows of a batch (the same loss in expectation).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from interlingua import recipe as recipes
from interlingua import stages
from interlingua.data.filter import FilterConfig
from interlingua.data.prepare import prepare, save
from interlingua.data.splitting import SplitConfig
from interlingua.evaluate.compare import compare
from interlingua.evaluate.protocol import evaluate
from interlingua.evaluate.result import load_report
from interlingua.progress import say
from interlingua.session import Session, open_session

PAPER = {
    "gccf": (0.1343, 0.0807), "lightgcn": (0.1411, 0.0856), "sgl": (0.1473, 0.0913),
    "simgcl": (0.1512, 0.0919), "dccf": (0.1517, 0.0943), "autocf": (0.1536, 0.0984),
}  # fmt: skip
"""Recall@20 and NDCG@20 of the base models on Amazon-book (arXiv 2310.15950, table 1)"""
METRICS = ("recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20")
THREE_ONE_ONE = SplitConfig(name="ratio", valid=0.2, test=0.2)
SOURCES: dict[str, dict[str, Any]] = {
    "movielens-small": {"filter": FilterConfig(min_user=5, min_item=5), "split": THREE_ONE_ONE},
    "amazon-beauty-2014": {"filter": FilterConfig(min_user=7, min_item=7), "split": THREE_ONE_ONE},
    "xrec-yelp-profiles": {"split": SplitConfig(name="given")},
}  # fmt: skip
SPLIT_SEED = 7
Paths = dict[str, dict[int, Path]]
"""evaluations by method and seed"""
TEXT = {
    "movielens-small": {"fields": ["title", "categories"], "users": "items"},
    "amazon-beauty-2014": {"fields": ["title", "categories"], "users": "items"},
    "xrec-yelp-profiles": {"fields": ["description"], "users": "texts", "user_fields": ["profile"]},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "lightgcn": {"num_layers": 3, "layers": "sum", "keep_rate": 0.8},
    "gccf": {"num_layers": 2, "transform": False, "self_loops": True},
    "sgl": {
        "num_layers": 3, "layers": "sum", "views": "step", "renormalise": False, "repeats": True,
        "contrast_negatives": True, "cl_weight": 0.1, "temperature": 0.2,
    },
    "simgcl": {
        "num_layers": 3, "layers": "sum", "skip_input": False, "eps": 0.9, "contrast": "all", "repeats": True,
        "cl_weight": 0.1, "temperature": 0.2,
    },
}  # fmt: skip
"""the paper's settings for Amazon-book; DCCF and AutoCF are read from their recipes"""
CONTRASTIVE = ("sgl", "simgcl", "dccf", "autocf")
"""backbones with a contrastive loss of their own"""
DECAY = {"lightgcn": 2e-7, "gccf": 2e-6, "sgl": 2e-5, "simgcl": 2e-5, "dccf": 2e-4, "autocf": 2e-6}
CON = {"name": "contrastive", "weight": 0.01, "temperature": 0.2}
GEN = {"name": "masked", "weight": 0.1, "temperature": 0.5, "mask_ratio": 0.15}
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "Con": {"align": CON, "text": {"reduce": 128}},
    "Gen": {"align": GEN, "text": {"reduce": 128}},
    "Con, shuffled texts": {"align": CON, "text": {"reduce": 128, "control": "shuffled"}},
    "Gen, shuffled texts": {"align": GEN, "text": {"reduce": 128, "control": "shuffled"}},
    "Con, new items by text": {"align": CON, "text": {"reduce": 128}, "evaluate": {"retrieve_by": "aligned"}},
    "Con, 512 anchors": {"align": CON | {"contrast_anchors": 512}, "text": {"reduce": 128}},
    "Gen, 512 anchors": {"align": GEN | {"contrast_anchors": 512}, "text": {"reduce": 128}},
    "Con, full texts, 512 anchors": {"align": CON | {"contrast_anchors": 512}, "text": {}},
    "Gen, full texts, 512 anchors": {"align": GEN | {"contrast_anchors": 512}, "text": {}},
    "Con, LSA, 512 anchors": {"align": CON | {"contrast_anchors": 512}, "text": {"name": "lsa", "model": None}},
    "text only (AlphaRec's way)": {"align": {"name": "replace"}, "text": {}, "backbone": {"loss": "softmax"}},
    "same loss without texts": {"backbone": {"loss": "softmax"}},
    "text only, shuffled texts": {
        "align": {"name": "replace"}, "text": {"control": "shuffled"}, "backbone": {"loss": "softmax"},
    },
    "LLMInit (variance)": {"align": {"name": "init", "pick": "variance"}, "text": {}},
    "LLMInit (PCA)": {"align": {"name": "init", "pick": "pca"}, "text": {}},
    "KAR": {"align": {"name": "kar"}, "text": {"reduce": 128}},
}  # fmt: skip
SIMPLE = {"popularity": "pop", "item kNN (cosine)": "itemknn", "EASE": "ease", "text kNN": "textknn"}


def base(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """The six base models with the paper's settings."""
    rows: list[dict[str, Any]] = []
    result["curves"] = {}
    for seed in options.seeds:
        for name in options.backbones:
            say(f"\n== {name}, seed {seed}")
            few = (
                []
                if options.anchors is None or name not in CONTRASTIVE
                else [f"backbone.contrast_anchors={options.anchors}"]
            )
            resolved = recipes.load(f"paper/rlmrec/amazon-{name}", few)
            session = stages.run(resolved, out=options.runs, seed=seed, device="cpu")
            rows.append({"backbone": name, "seed": seed} | measured(session))
            result["curves"].setdefault(name, {})[str(seed)] = curve(session)
            result["mean"] = [against_paper(n, rows) for n in PAPER if any(r["backbone"] == n for r in rows)]
            result["rows"] = rows
            write(result, options.out)


def against_paper(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds beside the paper's row."""
    mine = [row for row in rows if row["backbone"] == name]
    line: dict[str, Any] = {"backbone": name, "seeds": len(mine)}
    for metric, paper in zip(("recall@20", "ndcg@20"), PAPER[name], strict=True):
        value = float(np.mean([row[metric] for row in mine]))
        line |= {metric: round(value, 5), f"{metric} paper": paper, f"{metric} / paper": round(value / paper, 4)}
    line["epochs"] = round(float(np.mean([row["epochs"] for row in mine])))
    line["stopped"] = "by hand" if any("stopped" in row for row in mine) else "early stopping"
    return line


def align(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Base, Con, Gen, controls and what is cheaper, on one dataset and split."""
    folder = Path(options.runs) / "datasets" / options.data
    if not folder.is_dir():
        save(prepare(options.data, seed=SPLIT_SEED, **SOURCES[options.data]), folder)
    kept = json.loads(options.out.read_text(encoding="utf-8"))["rows"] if options.out.is_file() else []
    rows: list[dict[str, Any]] = [row for row in kept if (Path(options.runs) / row["run"]).is_dir()]
    paths: Paths = {}
    for row in rows:
        paths.setdefault(row["method"], {})[row["seed"]] = Path(options.runs) / row["run"]
    done = {(row["method"], row["seed"]) for row in rows}
    finish(result, rows, paths, options)
    for seed in options.seeds:
        for backbone in options.backbones:
            for variant in options.variants:
                method = f"{backbone}: {variant}"
                if (method, seed) in done:
                    continue
                say(f"\n== {options.data}, {method}, seed {seed}")
                values = recipe_of(backbone, variant, options.data, folder, options.anchors)
                session = stages.run(recipes.resolve(values, "rlmrec"), out=options.runs, seed=seed, device="cpu")
                rows.append(
                    {"method": method, "backbone": backbone, "variant": variant, "seed": seed} | measured(session)
                )
                paths.setdefault(method, {})[seed] = session.done["evaluate"].path
                finish(result, rows, paths, options)
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
                paths.setdefault(method, {})[seed] = session.done["evaluate"].path
                finish(result, rows, paths, options)


def recipe_of(backbone: str, variant: str, data: str, folder: Path, anchors: int | None = None) -> dict[str, Any]:
    """One run's sections."""
    parts = VARIANTS[variant]
    settings = SETTINGS.get(backbone)
    if settings is None:
        shipped = recipes.load(f"paper/rlmrec/amazon-{backbone}").resolved()["backbone"]
        settings = {k: v for k, v in shipped.items() if k not in ("name", "fit", "embedding_dim", "l2")}
    fit = {
        "learning_rate": 1e-3, "weight_decay": DECAY[backbone], "batch_size": 4096, "epochs": 1000,
        "evaluate_every": 3, "patience": 5, "metric": "recall@20",
    }  # fmt: skip
    own = {"name": backbone, "embedding_dim": 32, **settings, **parts.get("backbone", {}), "fit": fit}
    if backbone != "autocf":  # which has none
        own["l2"] = 0.0
    values: dict[str, Any] = {"data": {"name": str(folder)}, "backbone": own, "evaluate": {"protocols": ["rlmrec"]}}
    values["evaluate"] |= parts.get("evaluate", {})
    if "align" in parts:
        values["align"] = dict(parts["align"])
        if backbone == "autocf" and parts["align"]["name"] == "contrastive":
            values["align"]["negatives"] = False  # the authors' AutoCF has no negatives
        values["text"] = text_of(data, parts["text"])
    if anchors is not None:
        if backbone in CONTRASTIVE:
            own["contrast_anchors"] = anchors
        if parts.get("align", {}).get("name") in ("contrastive", "masked"):
            values["align"]["contrast_anchors"] = anchors
    return values


def text_of(data: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The dataset's texts as vectors."""
    values = {"name": "sbert", "model": "all-minilm-l6-v2", **TEXT[data], **changes}
    return {k: v for k, v in values.items() if v is not None}


def measured(session: Any) -> dict[str, Any]:
    """The numbers of one run."""
    report = load_report(session.done["evaluate"].path / "protocols" / "rlmrec")
    trained = session.done.get("align") or session.done["train"]
    log = curve(session)
    return numbers(report) | {
        "epochs": len(log),
        "seconds": round(float(trained.card["seconds"]), 1),
        "run": session.done["evaluate"].path.name,
    }


def numbers(report: Any) -> dict[str, Any]:
    """A report's metrics, and Recall@20 of its slices."""
    out: dict[str, Any] = {name: round(report.metrics[name], 5) for name in METRICS}
    return out | {f"recall@20 {name}": round(part.metrics["recall@20"], 5) for name, part in report.slices.items()}


def collect(options: argparse.Namespace) -> None:
    """Reads the runs in the folder anew, whatever process made them, and rewrites the result file from them.

    Base models: every finished ``amazon-*`` run, and unfinished ones by their best checkpoint so far, marked as such.
    Alignment: the runs that the result file names.
    """
    runs = Path(options.runs)
    if options.experiment == "align":
        result = json.loads(options.out.read_text(encoding="utf-8"))
        rows, paths = result["rows"], dict[str, dict[int, Path]]()
        for row in rows:
            row |= numbers(load_report(runs / row["run"] / "protocols" / "rlmrec"))
            paths.setdefault(row["method"], {})[row["seed"]] = runs / row["run"]
        finish(result, rows, paths, options)
        return
    result = header("rlmrec.py") | {"curves": {}}
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


def curve(session: Any) -> list[dict[str, Any]]:
    """One record per epoch: losses, and Recall@20 on the validation part where it was measured."""
    trained = session.done.get("align") or session.done["train"]
    file = trained.path / "log.jsonl"
    if not file.is_file():
        return []
    return shortened([json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()])


def shortened(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Losses and validation Recall@20 of a training log's epochs."""
    return [
        {k: round(v, 4) for k, v in record["losses"].items()}
        | ({"valid recall@20": round(record["valid"]["recall@20"], 5)} if "valid" in record else {})
        for record in records
        if "losses" in record
    ]


def finish(result: dict[str, Any], rows: list[dict[str, Any]], paths: Paths, options: Any) -> None:
    """Means, tests against each backbone alone, and the file."""
    result["mean"] = []
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        line: dict[str, Any] = {
            "method": method,
            "backbone": mine[0]["backbone"],
            "variant": mine[0]["variant"],
            "seeds": len(mine),
        }
        for metric in ("recall@20", "ndcg@20"):
            values = [row[metric] for row in mine]
            line[metric] = round(float(np.mean(values)), 5)
            line[f"{metric} sd"] = round(float(np.std(values, ddof=1)), 5) if len(values) > 1 else None
        for cell in [key for key in mine[0] if key.startswith("recall@20 ")]:
            line[cell] = round(float(np.mean([row[cell] for row in mine])), 5)
        line["seconds"] = round(float(np.mean([row["seconds"] for row in mine])), 1)
        result["mean"].append(line)
    result["tests"] = []
    for backbone in dict.fromkeys(row["backbone"] for row in rows):
        reference = f"{backbone}: base"
        for seeds in dict.fromkeys(tuple(sorted(found)) for found in paths.values()):
            group = [m for m in paths if m.startswith(f"{backbone}: ") and set(paths[m]) == set(seeds)]
            if len(group) < (2 if reference in group else 1) or not set(seeds) <= set(paths.get(reference, {})):
                continue
            reports = {
                method: [load_report(paths[method][seed] / "protocols" / "rlmrec") for seed in seeds]
                for method in dict.fromkeys([reference, *group])
            }
            scale = float(np.mean([report.metrics["recall@20"] for report in reports[reference]]))
            for test in compare(reports, metrics=["recall@20"], reference=reference).tests:
                result["tests"].append(
                    {
                        "method": test.first, "against": test.second, "seeds": len(seeds),
                        "recall@20 difference": round(test.difference, 5),
                        "relative": round(test.difference / scale, 4),
                        "interval": [round(v, 5) for v in test.interval], "p": test.p, "p_holm": test.p_holm,
                    }
                )  # fmt: skip
    result["gains"] = gains(result["mean"], result["tests"])
    result["rows"] = rows
    write(result, options.out)


def gains(means: list[dict[str, Any]], tests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per backbone: alone, with Con and with Gen, and what each adds with its corrected p."""
    out = []
    by_method = {line["method"]: line for line in means}
    tested = {test["method"]: test for test in tests}
    for line in means:
        if line["variant"] != "base":
            continue
        row: dict[str, Any] = {"backbone": line["backbone"], "seeds": line["seeds"], "base": line["recall@20"]}
        for variant in ("Con", "Gen"):
            method = f"{line['backbone']}: {variant}"
            if method in by_method and method in tested:
                row[variant] = by_method[method]["recall@20"]
                row[f"{variant} gain"] = tested[method]["relative"]
                row[f"{variant} p"] = tested[method]["p_holm"]
        out.append(row)
    return out


def write(result: dict[str, Any], out: Path) -> None:
    """Rewrites the result file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def header(script: str) -> dict[str, Any]:
    """Command, commit and machine."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
    return {
        "command": f"python benchmarks/quality/{script} " + shlex.join(a for a in sys.argv[1:] if "/" not in a),
        "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "paper": "arXiv 2310.15950v5",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=["base", "align"])
    parser.add_argument("--data", default="movielens-small", choices=list(SOURCES))
    parser.add_argument("--backbones", nargs="+", default=None, choices=list(PAPER))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--anchors", type=int, default=None, help="contrast_anchors of backbones and aligners")
    parser.add_argument("--no-simple", action="store_true", help="align: without popularity, kNN and EASE")
    parser.add_argument("--finished", action="store_true", help="read finished runs anew, train nothing")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.backbones = options.backbones or (list(PAPER) if options.experiment == "base" else ["lightgcn"])
    if options.finished:
        collect(options)
        return
    result = header("rlmrec.py")
    {"base": base, "align": align}[options.experiment](options, result)


if __name__ == "__main__":
    main()
