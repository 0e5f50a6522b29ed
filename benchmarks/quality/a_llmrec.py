"""A-LLMRec and the recipe that grew out of it against their backbone, simple baselines, and controls without the LM.

    python benchmarks/quality/a_llmrec.py --data movielens-small --seeds 7 8 9 --out results/a-llmrec-ml.json

Every method is a recipe and a few overrides; what is finished is reused, so the command can be repeated and widened.
The result file is rewritten after each run. Paired tests (:data:`PAIRS`) are over the same users and candidates.
``--curve`` adds the validation Hit@1 over the number of training answers, with and without the language model.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from controls import NO_HEAD, NO_TEXT, Sources
from header import header

from interlingua.bench.paired import Cell, name_of, over_seeds, paired
from interlingua.evaluate.protocol import evaluate
from interlingua.evaluate.result import load_report
from interlingua.progress import say
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.session import Session
from interlingua.training.loop import fit_best

BACKBONE, METHOD, PAPERS = "SASRec", "aligned mixture", "A-LLMRec (paper)"
NO_LM, SHUFFLED_TEXTS = "ranker.lm_weights=none", "text.control=shuffled"
OURS, LONG, HOUR = "aligned-mixture", "aligned-mixture-long", "aligned-mixture-hour"
METHODS: dict[str, tuple[str, tuple[str, ...]]] = {
    "popularity": ("pop", ()),
    "item kNN (cosine)": ("itemknn", ()),
    "item kNN (BM25)": ("bm25", ()),
    "EASE": ("ease", ()),
    "text kNN": ("textknn", ()),
    "text kNN (MiniLM)": ("textknn", ("text.name=sbert", 'text.fields=["title", "categories"]')),
    "MF (BPR)": ("mf", ()),
    BACKBONE: ("sasrec", ()),
    PAPERS: ("a-llmrec", ()),
    METHOD: (OURS, ()),
    f"{METHOD}, no LM": (OURS, (NO_LM,)),
    f"{METHOD}, shuffled texts": (OURS, (SHUFFLED_TEXTS,)),
    f"{METHOD}, longer": (LONG, ()),
    f"{METHOD}, longer, no LM": (LONG, (NO_LM,)),
    f"{METHOD}, longer, shuffled texts": (LONG, (SHUFFLED_TEXTS,)),
    f"{METHOD}, an hour": (HOUR, ()),
    f"{METHOD}, an hour, 8 layers": (HOUR, ("ranker.num_layers=8",)),
    f"{METHOD}, an hour, no LM": (HOUR, (NO_LM,)),
    f"{METHOD}, TF-IDF texts": (OURS, ('text={name="lsa"}',)),
    f"{METHOD}, shuffled LM": (OURS, ("ranker.lm_weights=shuffled", "ranker.projector_init=scaled")),
    f"{METHOD}, no closed form": (OURS, ("ranker.projector_init=scaled",)),
    f"{METHOD}, with user vector": (OURS, ("ranker.slots.user=backbone",)),
    f"{METHOD}, random vectors": (OURS, ("ranker.slots.item=random",)),
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
    "controls": [f"{METHOD}, no LM", f"{METHOD}, shuffled texts", f"{METHOD}, shuffled LM"],
    "longer": [f"{METHOD}, longer", f"{METHOD}, longer, no LM", f"{METHOD}, longer, shuffled texts"],
    "hour": [f"{METHOD}, an hour", f"{METHOD}, an hour, 8 layers", f"{METHOD}, an hour, no LM"],
    "ablations": [f"{METHOD}, random vectors", f"{METHOD}, with user vector", f"{METHOD}, no closed form"],
    "paper": [PAPERS],
}
TABLE_CONTROLS = ("no LM", "shuffled texts")
"""trained controls that stand in every table"""
RANKERS = (METHOD, f"{METHOD}, longer", f"{METHOD}, an hour", f"{METHOD}, TF-IDF texts")
"""of whose mixtures the untrained controls are made"""
VARIANTS = ("head alone", "head alone, text latents (SBERT)")
"""of every trained ranker: its head without backbone and texts, and the same with all items read from their texts"""
PAPER = {
    "source": "arXiv 2404.11343v2, tables 1, 4 and 9: Hit@1 among 20 candidates, OPT-6.7B, Amazon 2018 Luxury_Beauty",
    "SASRec": 0.5298, "A-LLMRec": 0.5809, "SASRec cold": 0.1190, "A-LLMRec cold": 0.5605, "SASRec warm": 0.6312,
    "A-LLMRec warm": 0.6414, "without user representation": 0.5547, "without joint embedding": 0.5213,
    "random joint embedding": 0.5427, "independent runs of the authors' code": [0.5590, 0.5363],
}  # fmt: skip
CELLS: tuple[Cell, ...] = (
    ("ndcg@10", "full", None),
    ("ndcg@10", "full", "warm items"),
    ("ndcg@10", "full", "cold items"),
    ("recall@10", "full", None),
    ("recall@10", "full", "cold items"),
    ("hit@1", "sampled-20", None),
    ("hit@1", "sampled-20", "warm items"),
    ("hit@1", "sampled-20", "cold items"),
    ("hit@1", "sampled-20", "unseen items"),
    ("recall@10", "full", "unseen items"),
)
TESTED = tuple(cell for cell in CELLS if cell[0] != "recall@10" and cell[2] != "unseen items")


def pairs() -> list[tuple[str, str]]:
    """(method, against): the questions that every table answers."""
    out = [(PAPERS, BACKBONE)]
    for method in RANKERS:
        against = [BACKBONE, *(f"{method}, {c}" for c in TABLE_CONTROLS), f"{method}, shuffled LM"]
        out += [(method, other) for other in (*against, f"{method}: {NO_HEAD}", f"{method}: {NO_TEXT}")]
        out += [(f"{method}: head alone", f"{method}, no LM: head alone"), (f"{method}: {NO_TEXT}", BACKBONE)]
    return out


def measure(label: str, seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs one method, or finds it done; a row for it and one for each variant of its ranker."""
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
    if "rank" not in session.done:
        return [common | cells(run)]
    card = session.done["rank"].card
    common |= {"rows": card.get("samples"), "parameters": card.get("parameters")}
    mixture = getattr(session.ranker, "mixture", None)
    if mixture is None:
        return [common | cells(run)]
    common["mixture"] = [round(float(v), 3) for v in mixture.numbers]
    out = [common | cells(run)]
    for variant in (*VARIANTS, *((NO_HEAD, NO_TEXT) if label in RANKERS else ())):
        place = Path(options.runs) / "variants" / run.name / variant.replace(" ", "-")
        if not all((place / "protocols" / p / "metrics.json").is_file() for p in resolved.evaluate.protocols):
            judge(session, variant, place)
        out.append(common | {"method": f"{label}: {variant}", "path": str(place)} | cells(place))
    return out


def judge(session: Session, variant: str, place: Path) -> None:
    """Measures a variant of a trained ranker, and leaves its reports where a run would have them."""
    options = session.recipe.evaluate
    ranker: Any = session.make_ranker()
    ranker.load_state_dict(session.ranker.state_dict())
    if variant in (NO_HEAD, NO_TEXT):
        ranker = Sources(ranker, session, variant)
    else:
        ranker.score_fusion = None
        if "SBERT" in variant:
            ranker.config = ranker.config.model_copy(update={"inference_latent": "text"})
    for protocol in options.protocols:
        report = evaluate(
            ranker, session.data.split, options.part, protocol=protocol,
            seed=options.negatives_seed, max_users=options.max_users,
        )  # fmt: skip
        target = place / "protocols" / protocol
        target.mkdir(parents=True, exist_ok=True)
        report.save(target)


def cells(run: Path) -> dict[str, float]:
    """The numbers of one run's reports."""
    found: dict[str, float] = {}
    for metric, protocol, piece in CELLS:
        folder = run / "protocols" / protocol
        if folder.is_dir():
            report = load_report(folder)
            if piece is None or piece in report.slices:
                values = report.metrics if piece is None else report.slices[piece].metrics
                found[name_of((metric, protocol, piece))] = round(values[metric], 5)
    return found


def _shared(recipe: str, options: argparse.Namespace) -> list[str]:
    """Overrides given on the command line, as far as the recipe has their section."""
    whole = recipe.startswith((OURS, "a-llmrec"))
    sections = ("backbone.", "text.", "align.", "ranker.") if whole else ("backbone.",) if recipe == "sasrec" else ()
    return [s for s in options.set if s.startswith(sections)] if sections else []


def tests(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The paired tests of :func:`pairs` between the methods that are there."""
    folders: dict[str, list[Path]] = {}
    for row in rows:
        folders.setdefault(row["method"], []).append(Path(row["path"]))
    return paired(folders, TESTED, pairs())


def means(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per method: mean over seeds and their standard deviation."""
    out = []
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        line: dict[str, Any] = {"method": method, "seeds": len(mine)}
        for cell in CELLS:
            values = [row[name_of(cell)] for row in mine if name_of(cell) in row]
            if values:
                line[name_of(cell)] = round(float(np.mean(values)), 5)
                line[f"{name_of(cell)} sd"] = round(float(np.std(values, ddof=1)), 5) if len(values) > 1 else None
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
    ranker: Any = session.make_ranker()
    ranker.score_fusion = None
    points: list[dict[str, Any]] = []
    answers, started = 0, time.process_time()

    def batches(epoch: int, generator: np.random.Generator) -> Any:
        nonlocal answers
        for batch in ranker.batches(epoch, generator):
            answers += int((batch.positives >= 0).sum())  # counted first: a round's last batch is never asked past
            yield batch

    def validate() -> dict[str, float]:
        spent = time.process_time()
        report = evaluate(
            ranker, session.data.split, "valid", protocol="sampled-20", max_users=options.max_users, slices=False,
            resamples=0,
        )  # fmt: skip
        ranker._known.forget()
        points.append({"answers": answers, "hit@1": round(report.metrics["hit@1"], 5)})
        points[-1]["cpu_seconds"] = round(spent - started, 1)
        say(f"{label}: {points[-1]}")
        return report.metrics | {"ndcg@10": report.metrics["hit@1"]}

    fit = resolved.ranker.config.fit.model_copy(update={"evaluate_every": every})
    validate()
    fit_best(ranker, batches, fit, seed=seed, label=f"curve {label}", validate=validate, device="cpu")
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
    result: dict[str, Any] = {
        **header(__file__),
        "data": options.data, "part": options.part, "max_users": options.max_users, "paper": PAPER,
    }  # fmt: skip
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        for label in labels:
            rows += measure(label, seed, options)
            save(result, rows, options.out)
    if options.curve:
        result["curve"] = {}
        for label in (METHOD, f"{METHOD}, no LM"):
            result["curve"][label] = curve(options, options.seeds[0], label, options.curve)
        save(result, rows, options.out)


def save(result: dict[str, Any], rows: list[dict[str, Any]], out: Path) -> None:
    """Rewrites the result file."""
    result["mean"] = means(rows)
    methods = {row["method"] for row in rows}
    counts = {method: sum(row["method"] == method for row in rows) for method in methods}
    complete = [row for row in rows if counts[row["method"]] == max(counts.values())]
    result["tests"] = tests(complete)
    result["seed_tests"] = over_seeds(rows, TESTED, pairs())
    result["rows"] = [{k: v for k, v in row.items() if k != "path"} for row in rows]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
