"""The systems named beside RLMRec, and what is nearest, in one table: each beside the simple methods and its own base.

    python benchmarks/quality/named_systems.py --data movielens-small --out results/named-movielens-small.json
    python benchmarks/quality/named_systems.py --table labelled --data movielens-small --out results/labelled-....json

Every method has its shipped recipe's options, one division of the data and one evaluation; nothing is chosen on the
test part. ``base`` is what a method builds on, trained with the same options: a method that is not above it has not
earned its time. ``gain per minute``: NDCG@10 above the base, in hundredths, for each minute of CPU beyond the base's.
What is finished in ``--runs`` is reused. ``drdt`` asks a language model four times a user and is measured elsewhere.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from header import header

from interlingua.bench import all_round
from interlingua.bench.all_round import SIMPLE, Measured
from interlingua.bench.paired import paired
from interlingua.config import to_toml
from interlingua.errors import InterlinguaError
from interlingua.progress import say
from interlingua.report.side_by_side import Method
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.reports import load_run

SASREC, GRAPH, SESSIONS, ITEMS = "SASRec", "LightGCN of RLMRec", "SR-GNN", "LightGCN"
SUM = "sum of SASRec and text kNN"
BASES = (Method(GRAPH, "rlmrec-con", ("align.name=none",)),)


@dataclass(frozen=True)
class Named:
    """A method of the table."""

    method: Method
    base: str
    """the label of what it builds on; empty: nothing"""


NAMED = (
    Named(Method("LLMEmb", "llmemb"), SASREC),
    Named(Method("AlphaFuse", "alphafuse"), SASREC),
    Named(Method("RLMRec-Con", "rlmrec-con"), GRAPH),
    Named(Method("DaRec", "darec"), GRAPH),
    Named(Method("ProMax's SDR", "sdr"), GRAPH),
    Named(Method("IRLLRec", "irllrec"), GRAPH),
    Named(Method("Gal-style", "gal-style"), GRAPH),
    Named(Method("TIGER", "tiger"), ""),
    Named(Method(SESSIONS, "sr-gnn"), ""),
    Named(Method("GC-SAN", "gcsan"), SESSIONS),
    Named(Method("LLMGR", "llmgr"), SESSIONS),
    Named(Method("TokenRec", "token-rec"), ITEMS),
    Named(Method("LC-Rec", "lc-rec"), ""),
    Named(Method("MixRec", "mixrec"), ""),
    Named(Method("Gal-Rec", "gal-rec"), ""),
)
QUESTION = (
    "data.filter={ min_user = 5, min_item = 5 }", "data.label={ at_least = 4.0 }",
    'data.split={ name = "ratio", by = "time", valid = 0.1, test = 0.1 }',
    'evaluate.protocols=["labelled"]', 'evaluate.metrics=["fpr"]',
)  # fmt: skip
"""the same for all methods of labelled pairs"""
LABELLED = (
    Method("itemknn", "itemknn"), Method("MF", "mf"), Method("NCF", "ncf"), Method("MMREC", "mmrec"),
    Method("MMREC, shuffled texts", "mmrec", ("text.control=shuffled",)),
    Method("MMREC, without texts", "mmrec", ("backbone.fields=[]",)),
    Method("RecICL", "rec-icl"), Method("RecICL, no demonstrations", "rec-icl", ("ranker.demonstrations=0",)),
)  # fmt: skip


def sum_of_parts(folder: Path) -> Method:
    """SASRec and a text kNN, joined by weights learned on the validation part: a recipe's file in the folder."""
    alone = recipes.load("sasrec").resolved()
    texts = recipes.load("textknn", ("text.name=sbert", 'text.fields=["title", "categories"]')).resolved()
    members = [
        {"name": "alone", "backbone": alone["backbone"]},
        {"name": "texts", "backbone": texts["backbone"], "text": texts["text"]},
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sum-of-parts.toml"
    path.write_text(to_toml({"data": {"name": "planted"}, "fuse": {"name": "sum", "members": members}}), "utf-8")
    return Method(SUM, str(path))


def costs(folders: Mapping[str, Sequence[Path]]) -> dict[str, float]:
    """Minutes of all stages of each method, mean over seeds."""
    found = {name: [load_run(path).seconds for path in paths] for name, paths in folders.items()}
    return {name: float(np.mean([each or np.nan for each in seconds])) / 60 for name, seconds in found.items()}


def ranking(options: argparse.Namespace) -> dict[str, Any]:
    """The table of full ranking: one line for each method, and its tests against base and sum."""
    named = [each for each in NAMED if each.method.recipe in recipes.shipped()]
    further = (*BASES, Method("L3AE", "l3ae"), sum_of_parts(options.runs / "sum"), *(each.method for each in named))
    methods = [each for each in (*SIMPLE, *further) if options.methods is None or each.label in options.methods]
    made = all_round.measure(
        options.data, methods=methods, splits=options.splits, seeds=options.seeds, out=options.runs,
        overrides=options.set, max_users=options.max_users, device="cpu",
    )  # fmt: skip
    folders = made.runs[options.splits[0]]
    minutes = costs(folders)
    base_of = {each.method.label: each.base for each in named}
    pairs = [
        (name, other) for name in folders for other in (base_of.get(name, ""), SUM)
        if name in base_of and other in folders
    ]  # fmt: skip
    return {
        "rows": [_line(made, name, minutes, base_of.get(name, "")) for name in made.overall()],
        "tests": paired(folders, [(all_round.NDCG, "full", None)], pairs), **made.to_json(),
    }  # fmt: skip


def _line(made: Measured, name: str, minutes: Mapping[str, float], base: str) -> dict[str, Any]:
    part, standing = made.overall()[name]
    line: dict[str, Any] = {
        "method": name, "base": base, "all-round ratio": round(standing.ratio, 3),
        "worst": f"{part}: {standing.worst[0]}, {standing.worst[1]}", "minutes": round(minutes[name], 2),
    }  # fmt: skip
    for split, each in made.parts.items():
        values = each.methods[name].values
        for slice_name in ("all", "warm items", "cold items", "unseen items"):
            value = values.get((slice_name, all_round.NDCG))
            line[f"{split} {slice_name}".replace(",", "")] = None if value is None else round(value, 4)
    main = next(iter(made.parts.values())).methods
    if base in main:
        gain = main[name].values["all", all_round.NDCG] - main[base].values["all", all_round.NDCG]
        beyond = minutes[name] - minutes[base]
        line["above base"] = round(gain, 4)
        line["gain per minute"] = round(100 * gain / beyond, 3) if beyond > 0.01 else None
    return line


def labelled(options: argparse.Namespace) -> dict[str, Any]:
    """The table of labelled pairs: AUC, the mean AUC of users, and the rate of false alarms."""
    rows, failed = [], {}
    for method in LABELLED:
        values = []
        for seed in options.seeds:
            overrides = [*QUESTION, *options.set]
            overrides += [f"evaluate.max_users={options.max_users}"] if options.max_users else []
            try:
                made = stages.run(method.resolve(overrides, options.data), out=options.runs, seed=seed, device="cpu")
            except InterlinguaError as error:
                say(f"{method.label}: {error}")
                failed[method.label] = str(error)
                continue
            values.append(made.metrics["labelled"] | {"minutes": (load_run(made.path).seconds or 0.0) / 60})
        if values:
            means = {key: round(float(np.mean([each[key] for each in values])), 4) for key in values[0]}
            rows.append({"method": method.label, "seeds": len(values)} | means)
        options.partial({"rows": rows, "failed": failed})
    return {"rows": rows, "failed": failed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--table", default="ranking", choices=["ranking", "labelled"])
    parser.add_argument("--methods", nargs="+", help="rows by label (default: all)")
    parser.add_argument("--splits", nargs="+", default=["leave-one-out", "item-cold"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[7])
    parser.add_argument("--max-users", type=int, help="evaluate a random subset of the users")
    parser.add_argument("--set", action="append", default=[], help="override for all, e.g. data.max_users=5000")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    def write(result: dict[str, Any]) -> None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(header(__file__) | result, indent=1) + "\n", encoding="utf-8")

    options.partial = write
    write({"ranking": ranking, "labelled": labelled}[options.table](options))


if __name__ == "__main__":
    main()
