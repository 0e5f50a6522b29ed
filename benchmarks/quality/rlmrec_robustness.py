"""RLMRec's other figures: fake training interactions, and pre-training on the past before fine-tuning on the present.

    python benchmarks/quality/rlmrec_robustness.py noise --data xrec-yelp-profiles --out results/rlmrec-noise.json
    python benchmarks/quality/rlmrec_robustness.py pretrain --out results/rlmrec-pretrain.json

``noise`` adds so many pairs that are none, as a share of the training pairs, and measures on the untouched test part.
``pretrain`` cuts a dataset's events at the median moment: the first half (split 4:1 for early stopping) trains
LightGCN alone, with Con and with Gen; its input vectors start a plain LightGCN on the second half (3:1:1). A dataset
whose times are places in each user's history has no such moment and is refused.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rlmrec_recipes import SOURCES, SPLIT_SEED, dataset, recipe_of
from rlmrec_results import METRICS, header, measured, write

from interlingua.config import FitConfig
from interlingua.contracts.aligner import Aligner
from interlingua.data.interactions import Interactions
from interlingua.data.prepare import save
from interlingua.data.prepared import Dataset, fingerprint
from interlingua.data.split import GroundTruth, Split
from interlingua.evaluate.protocol import evaluate, validation_metrics
from interlingua.progress import say
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.training.joint import Joint
from interlingua.training.loop import fit_best, seed_all

LEVELS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25)
METHODS = ("base", "Con", "Gen")


def noise(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Recall@20 and NDCG@20 over the share of fake training pairs."""
    rows: list[dict[str, Any]] = []
    clean = dataset(options.data)
    for seed in options.seeds:
        for level in options.levels:
            folder = Path(options.runs) / "noisy" / f"{options.data}-{level}"
            if not folder.is_dir():
                save(noisy(clean, level), folder)
            for method in METHODS:
                say(f"\n== {options.data}, {level:.0%} fake pairs, {method}, seed {seed}")
                values = recipe_of("lightgcn", method, options.data, folder, options.anchors)
                session = stages.run(recipes.resolve(values, "noise"), out=options.runs, seed=seed, device="cpu")
                rows.append({"noise": level, "method": method, "seed": seed} | measured(session))
                result["rows"], result["mean"] = rows, curves(rows)
                write(result, options.out)


def curves(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per level: each method's mean, and what is left of its own clean value."""
    out = []
    for level in dict.fromkeys(row["noise"] for row in rows):
        line: dict[str, Any] = {"fake pairs": f"{level:.0%}"}
        for method in METHODS:
            here = [r["recall@20"] for r in rows if (r["noise"], r["method"]) == (level, method)]
            start = [r["recall@20"] for r in rows if (r["noise"], r["method"]) == (0.0, method)]
            if here and start:
                line[f"{method} recall@20"] = round(float(np.mean(here)), 5)
                line[f"{method} kept"] = round(float(np.mean(here) / np.mean(start)), 4)
                epochs = [r["epochs"] for r in rows if (r["noise"], r["method"]) == (level, method)]
                line[f"{method} epochs"] = round(float(np.mean(epochs)))
        out.append(line)
    return out


def noisy(clean: Dataset, level: float) -> Dataset:
    """The dataset with random pairs added to its training part that are in none of its parts."""
    if not level:
        return clean
    events, count = clean.interactions, round(level * len(clean.split.train))
    rng = np.random.default_rng(int(1000 * level))
    known = events.users.astype(np.int64) * events.num_items + events.items
    drawn = np.unique(rng.integers(0, events.num_users * events.num_items, 2 * count + 1000))
    fake = rng.permutation(np.setdiff1d(drawn, known))[:count]
    users = np.concatenate([events.users, fake // events.num_items])
    items = np.concatenate([events.items, fake % events.num_items])
    times = np.concatenate([events.times, np.zeros(count, np.int64)])
    parts = np.concatenate([clean.parts, np.zeros(count, clean.parts.dtype)])
    order = np.lexsort((times, users))
    made = Interactions.of(events.user_ids, events.item_ids, users, items, times)
    train = made.filter(parts[order] == 0)
    return restamped(clean, made, parts[order], replace(clean.split, train=train))


def pretrain(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """What vectors learned on the past are worth to a plain LightGCN on the present."""
    rows: list[dict[str, Any]] = []
    whole = dataset(options.data)
    if whole.split.horizon is None:
        raise SystemExit(f"the times of {options.data} are places in each user's history: they have no past in common")
    early = whole.interactions.times <= np.median(whole.interactions.times)
    folder = Path(options.runs) / "datasets" / f"{options.data}-past"
    if not folder.is_dir():
        save(part_of(whole, early, valid=0.2, test=0.0), folder)
    later = part_of(whole, ~early, valid=0.2, test=0.2).split
    past, present = np.unique(whole.interactions.users[early]), np.unique(whole.interactions.users[~early])
    both = len(np.intersect1d(past, present))
    result["users"] = {"data": options.data, "past": len(past), "present": len(present), "both": both}
    for seed in options.seeds:
        starts: dict[str, Any] = {"none": None}
        for method in METHODS:
            values = recipe_of("lightgcn", method, options.data, folder, options.anchors)
            values["evaluate"] = {"protocols": ["rlmrec"], "part": "valid"}
            session = stages.run(recipes.resolve(values, "past"), out=options.runs, seed=seed, device="cpu")
            starts[method] = session.backbone
        for name, source in starts.items():
            say(f"\n== fine-tuning from {name}, seed {seed}")
            rows.append({"start": name, "seed": seed} | finetuned(source, later, seed, options.data))
            result["rows"] = rows
            result["mean"] = [
                {"start": start, "seeds": len(mine)}
                | {m: round(float(np.mean([r[m] for r in mine])), 5) for m in METRICS}
                | {m: round(float(np.mean([r[m] for r in mine]))) for m in ("epochs", "best epoch")}
                for start in dict.fromkeys(r["start"] for r in rows)
                if (mine := [r for r in rows if r["start"] == start])
            ]
            write(result, options.out)


def part_of(whole: Dataset, keep: Any, valid: float, test: float) -> Dataset:
    """Some of the events, divided at random for each user; all users and items stay."""
    events = whole.interactions.filter(keep)
    rng = np.random.default_rng(SPLIT_SEED)
    drawn = rng.random(len(events))
    parts = np.where(drawn < test, 2, np.where(drawn < test + valid, 1, 0)).astype(np.int8)
    first, last = (GroundTruth.of(events.users[parts == p], events.items[parts == p]) for p in (1, 2))
    split = replace(whole.split, train=events.filter(parts == 0), valid=first, test=last)
    return restamped(whole, events, parts, split)


def restamped(source: Dataset, events: Interactions, parts: Any, split: Split) -> Dataset:
    """The dataset with other events, under a fingerprint of its own."""
    print_of = fingerprint(events, source.catalogue, parts, split.protocol)
    card = source.card | {"fingerprint": print_of}
    return replace(source, interactions=events, parts=parts, split=split, card=card)


def finetuned(source: Any, split: Split, seed: int, data: str) -> dict[str, float]:
    """Test metrics and epochs of a LightGCN that starts from the vectors of ``source``."""
    part = recipes.resolve(recipe_of("lightgcn", "base", data, Path("unused"))).backbone
    assert part is not None
    seed_all(seed)
    backbone = part.cls(part.config, split.train)
    if source is not None:
        with torch.no_grad():
            backbone.users.copy_(source.users)
            backbone.items.copy_(source.items)
    fit: FitConfig = part.config.fit
    joint = Joint(backbone, Aligner(Aligner.Config(), 0, 0))
    log = fit_best(
        joint, backbone.batches(split.train, fit), fit, seed=seed, device="cpu",
        validate=lambda: validation_metrics(backbone, split),
    )  # fmt: skip
    report = evaluate(backbone, split, "test", protocol="rlmrec", slices=False, resamples=0)
    lengths = {"epochs": len(log.epochs), "best epoch": log.best_epoch}
    return {name: round(report.metrics[name], 5) for name in METRICS} | lengths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=["noise", "pretrain"])
    parser.add_argument("--data", choices=list(SOURCES), help="default: the dataset of the table in docs/rlmrec.md")
    parser.add_argument("--levels", type=float, nargs="+", default=list(LEVELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--anchors", type=int, default=None, help="contrast_anchors of the aligners")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.data = options.data or {"noise": "xrec-yelp-profiles", "pretrain": "movielens-small"}[options.experiment]
    result = header(__file__)
    {"noise": noise, "pretrain": pretrain}[options.experiment](options, result)


if __name__ == "__main__":
    main()
