"""Where ID vectors enter a frozen language model, on equal terms: one backbone, one model, one budget of training.

    python benchmarks/quality/injections.py --data movielens-small --seeds 7 --out RESULT.json

Every row is the recipe ``ra-rec`` with a few overrides: text only, ID vectors as input tokens, as key/value prompts of
every layer (RA-Rec), noise in their place, other maps, other losses, other samples, other ID models. Full ranking
(protocol ``hr-100``). Rows that the result file already has are not run again. ``alone`` is the retriever by itself,
``mixed`` has the backbone's score and texts mixed in by five numbers learned on validation users; the row "mixture
without a retriever" is that mixture without the language model. Seconds are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from interlingua import recipe as recipes
from interlingua import stages
from interlingua.evaluate.compare import compare
from interlingua.evaluate.protocol import evaluate
from interlingua.evaluate.result import load_report
from interlingua.fit import derive_seed, fit_best
from interlingua.progress import say
from interlingua.session import Session

METRICS = ("hit@10", "hit@50", "hit@100", "ndcg@10", "mrr@10")
SLICED = ("warm items", "cold items")
OURS = "key/value prompts per layer (RA-Rec)"
TEXT_ONLY = ("llm.soft_epochs=0", "llm.fit.epochs=2")
"""as many steps with texts as the others; without ID vectors there is nothing to learn before"""
ROWS: dict[str, tuple[str, ...]] = {
    OURS: (),
    "soft prompt only": ("llm.user_template=none", "llm.item_template=none"),
    "text only, learned context": ("llm.maps=none", *TEXT_ONLY),
    "input tokens": ("llm.injection=input",),
    "text only, nothing trained": ("llm.injection=none", "llm.readout=1", "llm.soft_epochs=0", "llm.fit.epochs=0"),
    "noise instead of ID vectors": ("llm.id_vectors=random",),
    "all data, same steps": ("llm.share=1.0", "llm.user_buckets=1", "llm.item_buckets=1"),
    "no learned context": ("llm.prefix_length=0",),
    "one shared map": ("llm.maps=shared",),
    "without distillation": ("llm.distill_weight=0",),
    "four times the soft steps": ("llm.soft_epochs=96", "llm.fit.epochs=98"),
    "no text on the user's side": ("llm.user_template=none",),
    "text only, learned readout": ("llm.injection=none", "llm.readout=64", *TEXT_ONLY),
    "low-rank maps": ("llm.maps=low-rank",),
    "diagonal maps": ("llm.maps=diagonal",),
    "keys and values directly": ("llm.injection=direct",),
    "maps start apart": ("llm.tied_start=false",),
    "6 % at random": ("llm.user_buckets=1", "llm.item_buckets=1"),
    "with layer-wise alignment": ("llm.align_weight=0.1",),
    "BPR": ("llm.loss=bpr",),
    "shuffled language model": ("llm.lm_weights=shuffled",),
    "MiniLM (encoder)": ("llm.model=all-minilm-l6-v2", "llm.num_layers=6"),
}
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


class Part:
    """A ranker made of some of a reader's features: the mixture with what is left out set to zero."""

    def __init__(self, reader: Any, towers: bool) -> None:
        self.reader, self.towers, self.num_items = reader, towers, reader.num_items

    def score(self, queries: Any, items: Any = None) -> Any:
        with torch.no_grad():
            if self.towers:
                return self.reader._tower_block(queries).numpy()
            return self.reader.mixture(*without_towers(self.reader, queries), self.reader.counts).numpy()


def without_towers(reader: Any, queries: Any) -> tuple[torch.Tensor, ...]:
    """Features of the mixture with nothing said by the language model."""
    from interlingua.llm.mixture import centred

    base = centred(torch.log_softmax(torch.as_tensor(reader.inputs.base_score(queries, None)), dim=-1))
    text = torch.zeros_like(base) if reader.likeness is None else centred(reader.likeness(queries))
    return torch.zeros_like(base), base, text


def measured(ranker: Any, session: Session, options: argparse.Namespace, place: Path, prefix: str) -> dict[str, float]:
    """The numbers of one ranker; its report is kept for the tests."""
    report = evaluate(
        ranker,
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
    """Trains one reader and measures it alone and mixed."""
    config = session.recipe.llm.config
    torch.set_num_threads(1)
    started = time.process_time()
    reader: Any = session.make_reader()
    if config.fit.epochs:
        fit = fit_best(reader, reader.batches, config.fit, seed=derive_seed(seed, "read"), label="read", device="cpu")
        samples = sum(int(epoch["rows"]) for epoch in fit.epochs)
        loss = fit.epochs[-1]["losses"]["rank"]
    else:
        samples, loss = 0, None
        reader.readouts.clear()  # the states themselves
    trained = time.process_time()
    valid = session.data.split.valid
    rows_of = np.repeat(np.arange(len(valid)), np.diff(valid.offsets))
    reader.calibrate(session.data.split.queries("valid").take(rows_of), valid.items)
    out: dict[str, Any] = {
        "parameters": sum(p.numel() for p in reader.parameters() if p.requires_grad), "samples": samples, "loss": loss,
        "train seconds": round(trained - started, 1), "mixture": [round(float(v), 3) for v in reader.mixture.numbers],
        "sample": None if reader.sample is None else reader.sample.story,
    }  # fmt: skip
    out |= measured(Part(reader, towers=True), session, options, place / "alone", "")
    out |= measured(reader, session, options, place / "mixed", "mixed ")
    out["seconds"] = round(time.process_time() - started, 1)
    out["peak memory MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return out


def backbone_rows(session: Session, options: argparse.Namespace, place: Path) -> dict[str, Any]:
    """The ID model alone, and the mixture of it with texts: what the language model has to beat."""
    started = time.process_time()
    out: dict[str, Any] = {"parameters": sum(p.numel() for p in session.backbone.parameters())}
    out |= measured(session.backbone, session, options, place / "alone", "")
    reader: Any = session.make_reader()
    from interlingua.llm.mixture import seen_mask, some_of

    valid = session.data.split.valid
    queries, targets = session.data.split.queries("valid"), np.asarray(valid.items, np.int64)
    rows_of = np.repeat(np.arange(len(valid)), np.diff(valid.offsets))
    queries, targets = some_of(queries.take(rows_of), targets)
    with torch.no_grad():
        features = without_towers(reader, queries)
    seen = seen_mask(queries, reader.num_items)
    reader.mixture.fit(features, reader.counts, torch.as_tensor(targets), seen, cold_weight=reader.config.cold_weight)
    out |= measured(Part(reader, towers=False), session, options, place / "mixed", "mixed ")
    return out | {"seconds": round(time.process_time() - started, 1)}


def row(pipe: Any, name: str, source: str, seed: int, options: argparse.Namespace) -> None:
    """Sends one row through ``pipe``: a reader, or the ID model alone."""
    resolved = recipes.load("ra-rec", [*ROWS.get(name, ()), *options.set], options.data)
    if source in SOURCES:
        resolved = replace(resolved, backbone=recipes.load(SOURCES[source], options.source_set).backbone)
    session = Session(resolved, Path(options.runs), seed, "cpu")
    stages.prepare(session)
    stages.embed(session)
    stages.train(session)
    folder = Path(options.runs) / "injections" / options.data / options.part / str(seed)
    place = folder / f"{source}-{name}".replace("/", "_")
    say(f"\n== {name}, {source}, seed {seed}")
    found = backbone_rows(session, options, place) if name == "ID model" else one(session, options, seed, place)
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
    """Paired bootstrap tests: alone against the ID model and RA-Rec, mixed against it and the bare mixture."""
    out = []
    for kind in ("alone", "mixed"):
        reports: dict[str, list[Any]] = {}
        for row in rows:
            folder = runs / row["path"] / kind
            if row["IDs"] == "SASRec" and folder.is_dir():
                reports.setdefault(row["method"], []).append(load_report(folder))
        if "ID model" not in reports or len(reports) < 2:
            continue
        if kind == "mixed":  # against the ID model alone as well as against the mixture without a language model
            alone = [
                load_report(runs / r["path"] / "alone")
                for r in rows
                if r["IDs"] == "SASRec" and r["method"] == "ID model"
            ]
            reports = {"mixture without a retriever": reports.pop("ID model"), "ID model": alone} | reports
        counts = max(len(found) for found in reports.values())
        reports = {name: found for name, found in reports.items() if len(found) == counts}
        for reference in ("ID model", "mixture without a retriever" if kind == "mixed" else OURS):
            if reference not in reports or len(reports) < 2:
                continue
            out += [
                {
                    "kind": kind, "method": test.first, "against": test.second, "difference": round(test.difference, 5),
                    "low": round(test.interval[0], 5), "high": round(test.interval[1], 5),
                    "p": test.p, "p_holm": test.p_holm,
                }
                for test in compare(reports, metrics=["hit@100"], reference=reference).tests
            ]  # fmt: skip
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
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
    kept = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {"rows": []}
    result: dict[str, Any] = {
        "command": "python benchmarks/quality/injections.py " + shlex.join(a for a in sys.argv[1:] if "/" not in a),
        "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "data": options.data, "part": options.part, "max_users": options.max_users, "paper": PAPER,
        "rows": kept["rows"],
    }  # fmt: skip
    wanted = [(name, "SASRec") for name in ("ID model", *options.rows)]
    wanted += [(name, source) for source in options.sources for name in ("ID model", OURS)]
    done = {(row["method"], row["IDs"], row["seed"]) for row in result["rows"]}
    for seed in options.seeds:
        for name, source in wanted:
            if (name, source, seed) not in done:
                result["rows"].append(run(name, source, seed, options))
                save(result, options.out, Path(options.runs))
    save(result, options.out, Path(options.runs))


if __name__ == "__main__":
    main()
