"""Where ID vectors enter a frozen language model, on equal terms: one backbone, one model, one budget of training.

    python benchmarks/quality/injections.py --data movielens-small --seeds 7 --out RESULT.json

Every row is the recipe ``kv-mixture`` with a few overrides: text only, ID vectors as input tokens, as key/value prompts
of every layer, noise in their place, other maps, other losses, other samples, other ID models; one is the recipe
``ra-rec``, the paper's method. Full ranking (protocol ``hr-100``). Rows that the result file already has are not run
again. ``alone`` is the retriever by itself, ``mixed`` has the backbone's score and texts mixed in by numbers learned on
validation users; the rows "sum of parts, no LM" and "dial without text" are that mixture without the language model,
and without texts too. Seconds are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from controls import NO_HEAD, NO_TEXT, Sources
from header import header

from interlingua.contracts.scorer import Scorer
from interlingua.evaluate.compare import compare, holm
from interlingua.evaluate.protocol import evaluate
from interlingua.evaluate.result import load_report
from interlingua.progress import say
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.session import Session
from interlingua.training.loop import derive_seed, fit_best

METRICS = ("hit@10", "hit@50", "hit@100", "ndcg@10", "mrr@10")
SLICED = ("warm items", "cold items")
OURS, PAPERS, ID_MODEL = "key/value prompts per layer", "RA-Rec (paper)", "ID model"
TEXT_ONLY = ("ranker.soft_epochs=0", "ranker.fit.epochs=2")
"""as many steps with texts as the others; without ID vectors there is nothing to learn before"""
ROWS: dict[str, tuple[str, ...]] = {
    OURS: (),
    PAPERS: (),
    "shuffled texts": ("text.control=shuffled",),
    "soft prompt only": ("ranker.user_template=none", "ranker.item_template=none"),
    "text only, learned context": ("ranker.maps=none", *TEXT_ONLY),
    "input tokens": ("ranker.injection=input",),
    "text only, nothing trained": (
        "ranker.injection=none",
        "ranker.readout=1",
        "ranker.soft_epochs=0",
        "ranker.fit.epochs=0",
    ),
    "noise instead of ID vectors": ("ranker.id_vectors=random",),
    "all data, same steps": ("ranker.fraction=1.0", "ranker.user_buckets=1", "ranker.item_buckets=1"),
    "no learned context": ("ranker.prefix_length=0",),
    "one shared map": ("ranker.maps=shared",),
    "without distillation": ("ranker.distill_weight=0",),
    "four times the soft steps": ("ranker.soft_epochs=96", "ranker.fit.epochs=98"),
    "no text on the user's side": ("ranker.user_template=none",),
    "text only, learned readout": ("ranker.injection=none", "ranker.readout=64", *TEXT_ONLY),
    "low-rank maps": ("ranker.maps=low-rank",),
    "diagonal maps": ("ranker.maps=diagonal",),
    "keys and values directly": ("ranker.injection=direct",),
    "maps start apart": ("ranker.tied_start=false",),
    "6 % at random": ("ranker.user_buckets=1", "ranker.item_buckets=1"),
    "with layer-wise alignment": ("ranker.align_weight=0.1",),
    "BPR": ("ranker.loss=bpr",),
    "shuffled language model": ("ranker.lm_weights=shuffled",),
    "MiniLM (encoder)": ("ranker.model=all-minilm-l6-v2", "ranker.num_layers=6"),
}
CONTROLS = (ID_MODEL, NO_HEAD, NO_TEXT)
SOURCES = {"LightGCN": "lightgcn", "ComiRec": "comirec"}
"""other ID models, as their own recipes have them"""
PAPER = {
    "source": "arXiv 2402.04527v2, HR@100 as quoted by others: Amazon-Books and Amazon-Clothing, GPT-2 large",
    "rows": [
        {"method": "ComiRec (best ID model)", "Books": 0.1146, "Clothing": 0.1142},
        {"method": "TwinBERT", "Books": 0.0831, "Clothing": 0.1151},
        {"method": "LLaMA4Rec", "Books": 0.0257, "Clothing": 0.0539},
        {"method": "RA-Rec", "Books": 0.1395, "Clothing": 0.1438},
    ],
}


class Towers(Scorer):
    """A ranker's dot products alone."""

    def __init__(self, ranker: Any) -> None:
        self.ranker, self.num_items = ranker, ranker.num_items

    def score(self, queries: Any, items: Any = None) -> Any:
        with torch.no_grad():
            return self.ranker._tower_block(queries).numpy()


def measured(scorer: Any, session: Session, options: argparse.Namespace, place: Path, prefix: str) -> dict[str, float]:
    """The numbers of one scorer; its report is kept for the tests."""
    report = evaluate(
        scorer,
        session.data.split,
        options.part,
        protocol="hr-100",
        metrics=METRICS,
        max_users=options.max_users,
        seed=7,
    )
    place.mkdir(parents=True, exist_ok=True)
    report.save(place)
    out = {f"{prefix}{name}": round(report.metrics[name], 5) for name in METRICS}
    for piece in SLICED:
        if piece in report.slices:
            out[f"{prefix}hit@100 {piece}"] = round(report.slices[piece].metrics["hit@100"], 5)
    return out


def one(session: Session, options: argparse.Namespace, seed: int, place: Path) -> dict[str, Any]:
    """Trains one ranker and measures it alone and mixed."""
    config = session.recipe.ranker.config
    torch.set_num_threads(1)
    started = time.process_time()
    ranker: Any = session.make_ranker()
    if config.fit.epochs:
        fit = fit_best(ranker, ranker.batches, config.fit, seed=derive_seed(seed, "read"), label="rank", device="cpu")
        samples = sum(int(epoch["rows"]) for epoch in fit.epochs)
        loss = fit.epochs[-1]["losses"]["rank"]
    else:
        samples, loss = 0, None
        ranker.readouts.clear()  # the states themselves
    trained = time.process_time()
    valid = session.data.split.valid
    rows_of = np.repeat(np.arange(len(valid)), np.diff(valid.offsets))
    ranker.calibrate(session.data.split.queries("valid").take(rows_of), valid.items)
    out: dict[str, Any] = {
        "parameters": sum(p.numel() for p in ranker.parameters() if p.requires_grad), "samples": samples, "loss": loss,
        "train seconds": round(trained - started, 1),
        "mixture": ranker.score_fusion and [round(float(v), 3) for v in ranker.score_fusion.numbers],
        "sample": None if ranker.sample is None else ranker.sample.counts,
    }  # fmt: skip
    out |= measured(Towers(ranker), session, options, place / "alone", "")
    if ranker.score_fusion is not None:
        out |= measured(ranker, session, options, place / "mixed", "mixed ")
    out["seconds"] = round(time.process_time() - started, 1)
    out["peak memory MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return out


def control(name: str, session: Session, options: argparse.Namespace, place: Path) -> dict[str, Any]:
    """The ID model alone, or one of its mixtures without a language model: what that has to beat."""
    started = time.process_time()
    if name == ID_MODEL:
        out: dict[str, Any] = {"parameters": sum(p.numel() for p in session.backbone.parameters())}
        out |= measured(session.backbone, session, options, place / "alone", "")
    else:
        out = measured(Sources(session.make_ranker(), session, name), session, options, place / "mixed", "mixed ")
    return out | {"seconds": round(time.process_time() - started, 1)}


def row(pipe: Any, name: str, source: str, seed: int, options: argparse.Namespace) -> None:
    """Sends one row through ``pipe``: a ranker, or the ID model alone."""
    resolved = recipes.load(
        "ra-rec" if name == PAPERS else "kv-mixture", [*ROWS.get(name, ()), *options.set], options.data
    )
    if source in SOURCES:
        resolved = replace(resolved, backbone=recipes.load(SOURCES[source], options.source_set).backbone)
    session = Session(resolved, Path(options.runs), seed, "cpu")
    stages.prepare(session)
    if resolved.text is not None:
        stages.embed(session)
    stages.train(session)
    folder = Path(options.runs) / "injections" / options.data / options.part / str(seed)
    place = folder / f"{source}-{name}".replace("/", "_")
    say(f"\n== {name}, {source}, seed {seed}")
    found = control(name, session, options, place) if name in CONTROLS else one(session, options, seed, place)
    path = str(place.relative_to(options.runs))
    pipe.send({"method": name, "IDs": source, "seed": seed, "path": path} | found)


def run(name: str, source: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One row, in a fresh process, so that its peak memory is its own."""
    context = multiprocessing.get_context("spawn")  # a fork would inherit the locks of threads that it lacks
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=row, args=(theirs, name, source, seed, options))
    process.start()
    theirs.close()
    try:
        found: dict[str, Any] = ours.recv()
    except EOFError:
        raise SystemExit(f"the row {name!r} failed; its error stands above") from None
    process.join()
    return found


def tests(rows: list[dict[str, Any]], runs: Path) -> list[dict[str, Any]]:
    """Paired tests on HR@100, one Holm family: alone against the ID model and ours, mixed against the controls."""
    out: list[dict[str, Any]] = []
    mine = [row for row in rows if row["IDs"] == "SASRec"]
    seeds = max((sum(row["method"] == name for row in mine) for name in {row["method"] for row in mine}), default=0)
    for kind in ("alone", "mixed"):
        reports: dict[str, list[Any]] = {}
        for row in mine:
            folder = runs / row["path"] / ("alone" if row["method"] == ID_MODEL else kind)
            if folder.is_dir():
                reports.setdefault(row["method"], []).append(load_report(folder))
        reports = {name: found for name, found in reports.items() if len(found) == seeds}
        against = (ID_MODEL, OURS) if kind == "alone" else (ID_MODEL, NO_HEAD, NO_TEXT, "shuffled texts")
        for second in against:
            for first in reports:
                if second not in reports or first == second or (first in against and second == OURS):
                    continue
                if kind == "mixed" and second != NO_HEAD and first not in (OURS, NO_HEAD, NO_TEXT):
                    continue  # what is asked of the language model is asked of every row; the rest of ours alone
                test = compare({first: reports[first], second: reports[second]}, metrics=["hit@100"], reference=second)
                found = test.tests[0]
                out.append(
                    {
                        "kind": kind, "method": first, "against": second, "difference": round(found.difference, 5),
                        "low": round(found.interval[0], 5), "high": round(found.interval[1], 5), "p": found.p,
                    }
                )  # fmt: skip
    for line, p in zip(out, holm([line["p"] for line in out]), strict=True):
        line["p_holm"] = p
    return out


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per method and ID model, numbers averaged over seeds."""
    out = []
    for method, source in dict.fromkeys((row["method"], row["IDs"]) for row in rows):
        mine = [row for row in rows if (row["method"], row["IDs"]) == (method, source)]
        line: dict[str, Any] = {"method": method, "IDs": source, "seeds": len(mine)}
        for key, value in mine[0].items():
            if isinstance(value, int | float) and key != "seed":
                mean = float(np.mean([row[key] for row in mine if row.get(key) is not None]))
                line[key] = round(mean) if isinstance(value, int) else round(mean, 5)
        out.append(line)
    return out


def save(result: dict[str, Any], out: Path, runs: Path) -> None:
    """Rewrites the result file."""
    rows = result["rows"]
    result["mean"], result["tests"] = means(rows), tests(rows, runs)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="movielens-small")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--sources", nargs="*", default=[], choices=list(SOURCES), help="ID models beside SASRec")
    parser.add_argument("--source-set", action="append", default=[], help="override for those ID models' recipes")
    parser.add_argument("--part", default="test", choices=["valid", "test"])
    parser.add_argument("--max-users", type=int, default=None, help="evaluate a random subset of the users")
    parser.add_argument("--set", action="append", default=[], help="override for every row")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    kept = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {"rows": []}
    result: dict[str, Any] = {
        **header(__file__),
        "data": options.data, "part": options.part, "max_users": options.max_users, "paper": PAPER,
        "rows": kept["rows"],
    }  # fmt: skip
    wanted = [(name, "SASRec") for name in (*CONTROLS, *options.rows)]
    wanted += [(name, source) for source in options.sources for name in (ID_MODEL, OURS)]
    done = {(row["method"], row["IDs"], row["seed"]) for row in result["rows"]}
    for seed in options.seeds:
        for name, source in wanted:
            if (name, source, seed) not in done:
                result["rows"].append(run(name, source, seed, options))
                save(result, options.out, Path(options.runs))
    save(result, options.out, Path(options.runs))


if __name__ == "__main__":
    main()
