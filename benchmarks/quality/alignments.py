"""Is an alignment worth its training? Each beside its backbone alone, and beside the sum of its two parts.

    python benchmarks/quality/alignments.py --data movielens-small --backbone sasrec --out RESULT.json
    python benchmarks/quality/alignments.py --data planted --backbone lightgcn --text lsa --controls --out RESULT.json

The sum (EnsRec's test) joins the scores of the backbone and of the likeness of texts (``textknn``), which were made
apart, by weights learned on the validation part: an alignment that is not above it was not worth its training. All rows
have one division of the data, one backbone with one set of options, one stopping rule and the same texts; aligners have
their own defaults, and nothing is chosen on the test part. ``llmemb`` has the backbone alone as its teacher. With
``--controls`` each aligner is trained on shuffled texts too: what it gains must vanish.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from header import header

from interlingua.bench.paired import paired
from interlingua.config import read_toml
from interlingua.data.prepare import FilterConfig, prepare, save
from interlingua.errors import InterlinguaError
from interlingua.evaluate.result import load_report
from interlingua.progress import say
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.export import embed
from interlingua.runs.session import Session

ALONE, TEXT, SUM = "backbone alone", "texts alone", "sum of both"
ALIGNERS = ("contrastive", "masked", "init", "replace", "kar", "sdr", "alphafuse", "darec", "llmemb")
OF_THEIR_OWN = ("faerec", "llm-esr")
"""backbones that join ids and texts themselves: SASRec's options and stopping rule, beside SASRec only"""
SHUFFLED = ", shuffled texts"
PROTOCOL = "full"
METRICS = ("ndcg@10", "recall@20")
TEXTS: dict[str, dict[str, Any]] = {
    "lsa": {"name": "lsa", "users": "items"},
    "sbert": {"name": "sbert", "model": "all-minilm-l6-v2", "fields": ["title", "categories"], "users": "items"},
}


def divided(options: argparse.Namespace) -> Path:
    """The dataset, divided once, by the first seed, for all rows and seeds: a folder."""
    folder = Path(options.runs) / "divided" / f"{options.data}-{options.core}-{options.seeds[0]}"
    if not folder.is_dir():
        few = FilterConfig(min_user=options.core, min_item=options.core)
        save(prepare(options.data, filter=few, split="leave-one-out", seed=options.seeds[0], quiet=True), folder)
    return folder


def base(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The sections that all rows share: data, backbone and measurement."""
    values = read_toml(recipes.find(options.backbone))
    fit = values["backbone"]["fit"] | {"patience": options.patience}
    fit |= {} if options.epochs is None else {"epochs": options.epochs}
    measure = {"protocols": [PROTOCOL]}
    return {"data": {"name": str(folder)}, "backbone": values["backbone"] | {"fit": fit}, "evaluate": measure}


def recipe_of(method: str, options: argparse.Namespace, folder: Path, teacher: Path | None) -> dict[str, Any]:
    """The whole recipe of a row."""
    values, text = base(options, folder), TEXTS[options.text]
    name = method.removesuffix(SHUFFLED)
    knn = {"backbone": {"name": "textknn"}, "text": text}
    if name == ALONE:
        return values
    if name == TEXT:
        return values | knn
    if name == SUM:
        members = [{"name": "alone", "backbone": values.pop("backbone")}, {"name": "texts", **knn}]
        return values | {"fuse": {"name": "sum", "members": members}}
    values["text"] = text | ({"control": "shuffled"} if method.endswith(SHUFFLED) else {})
    if name in OF_THEIR_OWN:
        own = {"name": name} | ({"teacher": "epoch"} if name == "llm-esr" else {"num_heads": 1})
        return values | {"backbone": values["backbone"] | own}
    values["align"] = {"name": name}
    if name == "llmemb" and teacher is not None:
        values["texts"] = {"teacher": {"name": "npy", "path": str(teacher)}}
        values["align"]["teacher"] = "teacher"
    return values


def teacher_of(session: Session) -> Path:
    """A file with the item vectors of a finished run."""
    return Path(embed(session, format="parquet", events="train").path) / "items.parquet"


def measured(session: Session, seconds: float) -> dict[str, Any]:
    report = load_report(session.path / "protocols" / PROTOCOL)
    return {metric: round(report.metrics[metric], 5) for metric in METRICS} | {"seconds": round(seconds, 1)}


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per method: means over seeds, and how far they are above the backbone alone and above the sum."""
    found: dict[str, dict[str, Any]] = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        line = {"method": method, "seeds": len(mine)}
        found[method] = line | {key: float(np.mean([row[key] for row in mine])) for key in (*METRICS, "seconds")}
    for line in found.values():
        for other, word in ((ALONE, "above the backbone"), (SUM, "above the sum")):
            if other in found:
                line[word] = line[METRICS[0]] - found[other][METRICS[0]]
    return [{key: round(v, 5) if isinstance(v, float) else v for key, v in line.items()} for line in found.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="movielens-small")
    parser.add_argument("--core", type=int, default=5, help="users and items with fewer events are left out")
    parser.add_argument("--backbone", default="sasrec", choices=["sasrec", "lightgcn"])
    parser.add_argument("--text", default="sbert", choices=list(TEXTS))
    parser.add_argument("--aligners", nargs="+", help="default: all, with sasrec also the backbones that read texts")
    parser.add_argument("--controls", action="store_true", help="each aligner on shuffled texts too")
    parser.add_argument("--epochs", type=int, help="at most; default: the backbone's recipe")
    parser.add_argument("--patience", type=int, default=5, help="validations without a better one that end a training")
    parser.add_argument("--seeds", nargs="+", type=int, default=[7])
    parser.add_argument("--runs", default="runs", help="folder of finished stages")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    both = (*ALIGNERS, *(OF_THEIR_OWN if options.backbone == "sasrec" else ()))
    names = [name + end for name in options.aligners or both for end in ("", SHUFFLED) if not end or options.controls]
    result: dict[str, Any] = {**header(__file__), "data": options.data, "backbone": options.backbone, "failed": []}
    rows: list[dict[str, Any]] = []
    folders: dict[str, list[Path]] = {}
    folder = divided(options)
    for seed in options.seeds:
        teacher: Path | None = None
        for method in (ALONE, TEXT, SUM, *names):
            say(f"\n== {options.data}, {options.backbone}, {method}, seed {seed}")
            started = time.perf_counter()
            try:
                found = recipes.resolve(recipe_of(method, options, folder, teacher), "alignments")
                session = stages.run(found, out=options.runs, seed=seed, device="cpu")
            except InterlinguaError as error:
                result["failed"].append({"method": method, "seed": seed, "why": str(error)})
                continue
            teacher = teacher_of(session) if method == ALONE else teacher
            folders.setdefault(method, []).append(session.path)
            rows.append({"method": method, "seed": seed} | measured(session, time.perf_counter() - started))
            say(f"{rows[-1]}")
            pairs = [(name, other) for name in names for other in (ALONE, SUM)]
            tests = paired(folders, [(metric, PROTOCOL, None) for metric in METRICS], pairs)
            result |= {"rows": rows, "mean": means(rows), "tests": tests}
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
