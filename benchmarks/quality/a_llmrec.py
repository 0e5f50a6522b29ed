"""A-LLMRec against its backbone, simple baselines, its own controls and ablations.

    python benchmarks/quality/a_llmrec.py --data movielens-small --seeds 7 8 9 --out results/a-llmrec-ml.json

Every method is a recipe and a few overrides; what is finished is reused, so the command can be repeated and widened.
The result file is rewritten after each run. Paired tests are against the backbone, over the same users and candidates.
``--curve`` adds the validation Hit@1 over the number of training answers, with and without the language model.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from interlingua import recipe as recipes
from interlingua import stages
from interlingua.core import Queries
from interlingua.evaluate.compare import compare
from interlingua.evaluate.protocol import evaluate
from interlingua.evaluate.result import at_slice, load_report
from interlingua.fit import fit_best
from interlingua.llm.mixture import Mixture, centred, seen_mask, some_of
from interlingua.progress import say
from interlingua.session import Session

BACKBONE, METHOD = "SASRec", "A-LLMRec"
NO_LM = "llm.lm_weights=none"
METHODS: dict[str, tuple[str, tuple[str, ...]]] = {
    "popularity": ("pop", ()),
    "item kNN (cosine)": ("itemknn", ()),
    "item kNN (BM25)": ("bm25", ()),
    "EASE": ("ease", ()),
    "text kNN": ("textknn", ()),
    "text kNN (MiniLM)": ("textknn", ("text.name=sbert", 'text.fields=["title", "categories"]')),
    "MF (BPR)": ("mf", ()),
    BACKBONE: ("sasrec", ()),
    METHOD: ("a-llmrec", ()),
    "A-LLMRec, no LM": ("a-llmrec", (NO_LM,)),
    "A-LLMRec, longer": ("a-llmrec-long", ()),
    "A-LLMRec, longer, no LM": ("a-llmrec-long", (NO_LM,)),
    "A-LLMRec, an hour": ("a-llmrec-hour", ()),
    "A-LLMRec, an hour, 8 layers": ("a-llmrec-hour", ("llm.num_layers=8",)),
    "A-LLMRec, an hour, no LM": ("a-llmrec-hour", (NO_LM,)),
    "A-LLMRec, TF-IDF texts": ("a-llmrec", ('text={name="lsa"}',)),
    "A-LLMRec, shuffled LM": ("a-llmrec", ("llm.lm_weights=shuffled", "llm.projector_init=scaled")),
    "A-LLMRec, no closed form": ("a-llmrec", ("llm.projector_init=scaled",)),
    "A-LLMRec, with user vector": ("a-llmrec", ("llm.slots.user=backbone",)),
    "A-LLMRec, SBERT fine-tuned": ("a-llmrec", ("text.trainable=true",)),
    "A-LLMRec, random vectors": ("a-llmrec", ("llm.slots.item=random",)),
    "A-LLMRec, paper's prompt": ("paper/a-llmrec/small", ()),
}
GROUPS = {
    "main": [
        "popularity",
        "item kNN (cosine)",
        "item kNN (BM25)",
        "EASE",
        "text kNN",
        "text kNN (MiniLM)",
        BACKBONE,
        METHOD,
    ],
    "controls": ["A-LLMRec, no LM", "A-LLMRec, shuffled LM"],
    "longer": ["A-LLMRec, longer", "A-LLMRec, longer, no LM"],
    "hour": ["A-LLMRec, an hour", "A-LLMRec, an hour, 8 layers", "A-LLMRec, an hour, no LM"],
    "ablations": [
        "A-LLMRec, random vectors",
        "A-LLMRec, with user vector",
        "A-LLMRec, no closed form",
        "A-LLMRec, SBERT fine-tuned",
    ],
    "paper": ["A-LLMRec, paper's prompt"],
}
VARIANTS = ("head alone", "head alone, text latents (SBERT)", "without the head")
"""of every trained reader: its head without backbone and texts, the same with all items read from their texts, and the
mixture of backbone and texts learned anew without a head"""
PAPER = {
    "source": "arXiv 2404.11343v2, tables 1, 4 and 9: Hit@1 among 20 candidates, OPT-6.7B, Amazon 2018 Luxury_Beauty",
    "SASRec": 0.5298, "A-LLMRec": 0.5809, "SASRec cold": 0.1190, "A-LLMRec cold": 0.5605, "SASRec warm": 0.6312,
    "A-LLMRec warm": 0.6414, "without user representation": 0.5547, "without joint embedding": 0.5213,
    "random joint embedding": 0.5427, "independent runs of the authors' code": [0.5590, 0.5363],
}  # fmt: skip
CELLS = (
    ("ndcg@10", "full", None),
    ("ndcg@10", "full", "cold items"),
    ("recall@10", "full", None),
    ("hit@1", "sampled-20", None),
    ("hit@1", "sampled-20", "warm items"),
    ("hit@1", "sampled-20", "cold items"),
)
"""metric, protocol, slice"""


def name_of(metric: str, protocol: str, part: str | None) -> str:
    return f"{metric} {protocol}" + (f" {part}" if part else "")


def measure(label: str, seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs one method, or finds it done; a row for it and one for each variant of its reader."""
    recipe, sets = METHODS[label]
    part = [f"evaluate.part={options.part}"]
    if options.max_users:
        part.append(f"evaluate.max_users={options.max_users}")
    resolved = recipes.load(recipe, [*sets, *_shared(recipe, options), *part], options.data)
    say(f"\n== {label}, seed {seed}")
    session = stages.run(resolved, out=options.runs, seed=seed, device="cpu")
    run = session.done["evaluate"].path
    common: dict[str, Any] = {"method": label, "seed": seed, "run": run.name, "path": str(run)}
    common["seconds"] = {kind: round(float(done.card["seconds"]), 1) for kind, done in session.done.items()}
    if "read" not in session.done:
        return [common | cells(run)]
    card = session.done["read"].card
    common |= {"rows": card.get("samples"), "parameters": card.get("parameters")}
    mixture = getattr(session.reader, "mixture", None)
    if mixture is None:
        return [common | cells(run)]
    common["mixture"] = [round(float(v), 3) for v in mixture.numbers]
    out = [common | cells(run)]
    for variant in VARIANTS:
        if variant == "without the head" and label != METHOD:
            continue  # the same for all readers of this backbone and these texts
        place = Path(options.runs) / "variants" / run.name / variant.replace(" ", "-")
        if not all((place / "protocols" / p / "metrics.json").is_file() for p in resolved.evaluate.protocols):
            judge(session, variant, place)
        out.append(common | {"method": f"{label}: {variant}", "path": str(place)} | cells(place))
    return out


def judge(session: Session, variant: str, place: Path) -> None:
    """Measures a variant of a trained reader, and leaves its reports where a run would have them."""
    options = session.recipe.evaluate
    reader: Any = session.make_reader()
    reader.load_state_dict(session.reader.state_dict())
    if variant == "without the head":
        reader = Headless(reader, session)
    else:
        reader.mixture = None
        if "SBERT" in variant:
            reader.config = reader.config.model_copy(update={"inference_latent": "text"})
    for protocol in options.protocols:
        report = evaluate(
            reader, session.data.split, options.part, protocol=protocol,
            seed=options.negatives_seed, max_users=options.max_users,
        )  # fmt: skip
        target = place / "protocols" / protocol
        target.mkdir(parents=True, exist_ok=True)
        report.save(target)


class Headless:
    """Backbone and texts in a mixture learned as the reader's is, without any head: what the reader has to beat."""

    def __init__(self, reader: Any, session: Session) -> None:
        self.reader, self.num_items = reader, reader.num_items
        self.mixture = Mixture()
        queries, targets = session.data.split.queries("valid"), session.data.split.valid.items
        queries, targets = some_of(queries, np.asarray(targets, np.int64))
        wanted = torch.as_tensor(targets)
        seen = seen_mask(queries, self.num_items)
        weight = reader.config.cold_weight
        self.mixture.fit(self.features(queries), reader.counts, wanted, seen, cold_weight=weight)

    def features(self, queries: Queries) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        base = torch.log_softmax(torch.as_tensor(self.reader.inputs.base_score(queries, None)), dim=-1)
        return torch.zeros_like(base), centred(base), centred(self.reader.likeness(queries))

    def score(self, queries: Queries, items: Any = None) -> Any:
        with torch.no_grad():
            scores = self.mixture(*self.features(queries), self.reader.counts).numpy()
        return scores if items is None else np.take_along_axis(scores, np.asarray(items, np.int64), axis=1)


def cells(run: Path) -> dict[str, float]:
    """The numbers of one run's reports."""
    found: dict[str, float] = {}
    for metric, protocol, piece in CELLS:
        folder = run / "protocols" / protocol
        if folder.is_dir():
            report = load_report(folder)
            if piece is None or piece in report.slices:
                values = report.metrics if piece is None else report.slices[piece].metrics
                found[name_of(metric, protocol, piece)] = round(values[metric], 5)
    return found


def _shared(recipe: str, options: argparse.Namespace) -> list[str]:
    """Overrides given on the command line, as far as the recipe has their section."""
    whole = recipe.startswith(("a-llmrec", "paper/a-llmrec"))
    sections = ("backbone.", "text.", "align.", "llm.") if whole else ("backbone.",) if recipe == "sasrec" else ()
    return [s for s in options.set if s.startswith(sections)] if sections else []


def tests(rows: Sequence[dict[str, Any]], reference: str) -> list[dict[str, Any]]:
    """Paired bootstrap tests of every method against the backbone; seeds are averaged for each user first."""
    by_method: dict[str, list[Path]] = {}
    for row in rows:
        by_method.setdefault(row["method"], []).append(Path(row["path"]))
    out = []
    for metric, protocol, piece in CELLS:
        reports: dict[str, Any] = {}
        for method, paths in by_method.items():
            folders = [path / "protocols" / protocol for path in paths]
            if all(folder.is_dir() for folder in folders):
                loaded = [load_report(folder) for folder in folders]
                reports[method] = [at_slice(one, piece) for one in loaded] if piece else loaded
        if reference not in reports or len(reports) < 2:
            continue
        out += [
            {
                "metric": name_of(metric, protocol, piece), "method": test.first, "against": test.second,
                "difference": round(test.difference, 5), "interval": [round(v, 5) for v in test.interval],
                "p": test.p, "p_holm": test.p_holm,
            }
            for test in compare(reports, metrics=[metric], reference=reference).tests
        ]  # fmt: skip
    return out


def means(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per method: mean over seeds and their standard deviation."""
    out = []
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        line: dict[str, Any] = {"method": method, "seeds": len(mine)}
        for cell in CELLS:
            values = [row[name_of(*cell)] for row in mine if name_of(*cell) in row]
            if values:
                line[name_of(*cell)] = round(float(np.mean(values)), 5)
                line[f"{name_of(*cell)} sd"] = round(float(np.std(values, ddof=1)), 5) if len(values) > 1 else None
        line["read seconds"] = round(float(np.mean([row["seconds"].get("read", 0.0) for row in mine])), 1)
        out.append(line)
    return out


def curve(options: argparse.Namespace, seed: int, label: str, every: int) -> list[dict[str, Any]]:
    """Validation Hit@1 (sampled-20) of the head alone over training answers."""
    recipe, sets = METHODS[label]
    resolved = recipes.load(recipe, [*sets, *_shared(recipe, options)], options.data)
    session = Session(resolved, Path(options.runs), seed, "cpu")
    for stage in ("prepare", "embed", "train", "align"):
        getattr(stages, stage)(session)
    reader: Any = session.make_reader()
    reader.mixture = None
    points: list[dict[str, Any]] = []
    answers, started = 0, time.process_time()

    def batches(epoch: int, generator: np.random.Generator) -> Any:
        nonlocal answers
        for batch in reader.batches(epoch, generator):
            answers += int((batch.positives >= 0).sum())  # counted first: a round's last batch is never asked past
            yield batch

    def validate() -> dict[str, float]:
        spent = time.process_time()
        report = evaluate(
            reader, session.data.split, "valid", protocol="sampled-20", max_users=options.max_users, slices=False,
            resamples=0,
        )  # fmt: skip
        reader._known.clear()
        points.append({"answers": answers, "hit@1": round(report.metrics["hit@1"], 5)})
        points[-1]["cpu_seconds"] = round(spent - started, 1)
        say(f"{label}: {points[-1]}")
        return report.metrics | {"ndcg@10": report.metrics["hit@1"]}

    fit = resolved.llm.config.fit.model_copy(update={"evaluate_every": every})
    validate()
    fit_best(reader, batches, fit, seed=seed, label=f"curve {label}", validate=validate, device="cpu")
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="movielens-small")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--groups", nargs="+", default=["main", "controls"], choices=list(GROUPS))
    parser.add_argument("--methods", nargs="+", default=[], choices=list(METHODS))
    parser.add_argument("--part", default="test", choices=["valid", "test"])
    parser.add_argument("--max-users", type=int, default=None, help="evaluate a random subset of the users")
    parser.add_argument("--set", action="append", default=[], help="override for every recipe that has the section")
    parser.add_argument("--curve", type=int, default=0, help="validate every so many rounds (one seed)")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    labels = options.methods or [label for group in options.groups for label in GROUPS[group]]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
    result: dict[str, Any] = {
        "command": "python benchmarks/quality/a_llmrec.py " + shlex.join(a for a in sys.argv[1:] if "/" not in a),
        "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "data": options.data, "part": options.part, "max_users": options.max_users, "paper": PAPER,
    }  # fmt: skip
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        for label in labels:
            rows += measure(label, seed, options)
            save(result, rows, options.out)
    if options.curve:
        result["curve"] = {}
        for label in (METHOD, "A-LLMRec, no LM"):
            result["curve"][label] = curve(options, options.seeds[0], label, options.curve)
        save(result, rows, options.out)


def save(result: dict[str, Any], rows: list[dict[str, Any]], out: Path) -> None:
    """Rewrites the result file."""
    result["mean"] = means(rows)
    methods = {row["method"] for row in rows}
    counts = {method: sum(row["method"] == method for row in rows) for method in methods}
    complete = [row for row in rows if counts[row["method"]] == max(counts.values())]
    result["tests"] = tests(complete, BACKBONE)
    result["rows"] = [{k: v for k, v in row.items() if k != "path"} for row in rows]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
