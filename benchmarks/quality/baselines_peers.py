"""Simple baselines and SASRec beside public peers: Recall@10 and NDCG@10, full ranking, leave-one-out by time, 5-core.

    python benchmarks/quality/baselines_peers.py --data movielens-small --peers PEERS_FOLDER --out RESULT.json

Peers: implicit (cosine, BM25, ALS, BPR), RecTools (EASE, SASRec), RecBole (SASRec, for so many CPU seconds as
``--recbole-s`` allows). Trained models keep the epoch with the best validation NDCG@10, ours and theirs alike.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))

import numpy as np
import torch
from ours import best, both, card, solve, split_of, train, write, write_data
from venvs import run_worker

from interlingua.contracts.scorer import Scorer
from interlingua.data.queries import Queries
from interlingua.data.split import Split
from interlingua.runs.recipe import load

NOTE = (
    "Same split, sizes (see options), softmax over all items and Adam 1e-3 for every SASRec unless its name says else; "
    "best epoch by validation NDCG@10. RecTools' EASE multiplies histories with the transposed weights "
    "(objects_factors = weight, so x B' instead of x B); 'EASE, transposed' is ours with that change and must equal "
    "it. RecBole trains "
    "one padded row per prefix and is stopped after recbole_s CPU seconds, wherever in an epoch that is."
)


class Transposed(Scorer):
    """EASE scored as RecTools does: with the transposed weights."""

    def __init__(self, split: Split, l2: float) -> None:
        from interlingua.nn.linear_autoencoders import ease_of_gram, gram_matrix

        self.weights, self.num_items = (
            ease_of_gram(gram_matrix(split.train.matrix()), l2, "ease").numpy().T.copy(),
            split.train.num_items,
        )

    def score(self, queries: Queries, items: Any = None) -> np.ndarray:
        from interlingua.nn.histories import history_matrix, pick

        return pick(np.asarray(history_matrix(queries, self.num_items) @ self.weights, np.float32), items)


def closed(split: Split, l2: float) -> list[dict[str, Any]]:
    rows = [
        {**solve("pop", split), "label": "ours, pop"},
        {**solve("itemknn", split, weighting="cosine"), "label": "ours, cosine kNN"},
        {**solve("itemknn", split, weighting="bm25"), "label": "ours, BM25 kNN"},
        {**solve("ease", split, l2=l2), "label": "ours, EASE"},
    ]
    return [*rows, {"label": "ours, EASE, transposed", **both(Transposed(split, l2), split)}]  # type: ignore[arg-type]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds of each label's test figures."""
    out: dict[str, Any] = {}
    for label in dict.fromkeys(row["label"] for row in rows):
        own = [row for row in rows if row["label"] == label]
        out[label] = {"seeds": len(own)}
        for part in ("valid", "test"):
            for metric in ("recall@10", "ndcg@10"):
                values = [row[part][metric] for row in own]
                out[label][f"{part} {metric}"] = round(float(np.mean(values)), 4)
                if len(values) > 1:
                    out[label][f"{part} {metric} std"] = round(float(np.std(values, ddof=1)), 4)
    return out


def sooner(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How much sooner each SASRec of ours reaches a peer's best validation NDCG@10 (CPU seconds, medians of seeds)."""
    own = dict.fromkeys(row["label"] for row in rows if row["label"].startswith("ours, SASRec ") and "curve" in row)
    out: dict[str, Any] = {}
    for label, mine in product(("RecTools, SASRec", "RecBole, SASRec"), own):
        found = one_sooner(rows, label, mine)
        if found:
            out[f"{label}; {mine}"] = found
    return out


def one_sooner(rows: list[dict[str, Any]], label: str, own: str) -> dict[str, Any]:
    """One peer and one of ours; empty where there is no run of the peer, or half of ours ended below it."""
    mine = [row["curve"] for row in rows if row["label"] == own]
    peers = [best(row) for row in rows if row["label"] == label]
    if peers:
        quality = float(np.mean([point["valid"]["ndcg@10"] for point in peers]))
        reached = [next((p["train_cpu_s"] for p in c if p["valid"]["ndcg@10"] >= quality), np.inf) for c in mine]
        theirs, ours = float(np.median([p["train_cpu_s"] for p in peers])), float(np.median(reached))
        if np.isfinite(ours):
            return {
                "valid ndcg@10": round(quality, 4),
                "its cpu s": round(theirs, 1),
                "our cpu s": round(ours, 1),
                "times sooner": round(theirs / ours, 1),
            }
    return {}


def flat(row: dict[str, Any], label: str) -> dict[str, Any]:
    """A trained model's row with its best epoch's figures on top; its pieces as parts of epochs."""
    done = row.get("steps_done_per_epoch")
    if done:
        part = min(done / row["steps_per_epoch"], 1.0)
        row["curve"] = [{**point, "epoch": round(point["epoch"] * part, 3)} for point in row["curve"]]
    point = best(row)
    return {"label": label, **row, "valid": point["valid"], "test": point["test"], "best_epoch": point["epoch"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="movielens-small")
    parser.add_argument("--peers", type=Path, required=True, help="folder for the peers' environments")
    parser.add_argument("--out", type=Path, required=True, help="result JSON")
    parser.add_argument("--only", nargs="*", default=["implicit", "rectools", "recbole"], help="peers to run")
    parser.add_argument("--ours", nargs="*", default=["closed", "mf", "ce", "bce", "tuned"], help="own models to run")
    parser.add_argument("--recipes", nargs="*", default=[], help="shipped recipes, trained with their own options")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--recbole-seeds", type=int, nargs="*", default=[1])
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--mf-epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--max-history", type=int, default=50)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--every", type=int, default=1, help="epochs between evaluations")
    parser.add_argument("--ease-l2", type=float, default=500.0)
    parser.add_argument("--recbole-s", type=float, default=240.0)
    parser.add_argument("--recbole-batch", type=int, default=2048, help="RecBole's rows (prefixes) in a step")
    parser.add_argument("--rectools-s", type=float, default=None, help="CPU seconds after which RecTools' SASRec ends")
    parser.add_argument("--rectools-steps", type=int, default=None, help="measure it after so many steps, not epochs")
    parser.add_argument("--add", action="store_true", help="keep the rows that --out holds, replace those run anew")
    parser.add_argument("--no-rectools-sasrec", action="store_true", help="RecTools' EASE only")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    split = split_of(options.data)
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items() if k not in ("peers", "out")}
    result: dict[str, Any] = {**card(__file__, options.threads, NOTE), "data": options.data, "seeds": options.seeds}
    result |= {"options": plain, "users": len(split.test), "items": split.train.num_items, "rows": []}
    if options.add and options.out.is_file():
        before = json.loads(options.out.read_text())
        result["rows"] = before["rows"]
        result["command"] = f"{before['command']}; then {result['command']}"

    def save(rows: list[dict[str, Any]]) -> None:
        anew = {(row["label"], row.get("seed")) for row in rows}
        result["rows"] = [row for row in result["rows"] if (row["label"], row.get("seed")) not in anew] + rows
        result["summary"] = summary(result["rows"])
        result["sooner"] = sooner(result["rows"])
        write(options.out, result)
        for row in rows:
            print(
                json.dumps({k: row[k] for k in ("label", "seed", "best_epoch", "valid", "test") if k in row}),
                flush=True,
            )

    run_peers(options, split, save)
    if "closed" in options.ours:
        save(closed(split, options.ease_l2))
    fit = {"learning_rate": 1e-3, "batch_size": options.batch, "epochs": options.epochs}
    common = {"embedding_dim": options.dim, "max_history": options.max_history, "fit": fit}
    for seed in options.seeds:
        if "mf" in options.ours:
            mf = {
                "embedding_dim": options.dim,
                "fit": {"learning_rate": 2e-3, "weight_decay": 1e-5, "batch_size": 1024},
            }
            mf["fit"]["epochs"] = options.mf_epochs
            save([flat(train("mf", split, seed, every=5, **mf)[0], "ours, MF (BPR)")])
        for loss in ("ce", "bce"):
            if loss in options.ours:
                row, _ = train("sasrec", split, seed, every=options.every, loss=loss, dropout=options.dropout, **common)
                save([flat(row, f"ours, SASRec {loss}")])
        for loss in ("ce", "shared-ce"):
            if f"{loss}-targets" in options.ours:
                own = {"loss": loss, "batch_by": "events", "dropout": options.dropout, **common}
                own |= {"num_negatives": 1000} if loss == "shared-ce" else {}
                row, _ = train("sasrec", split, seed, every=options.every, **own)
                save([flat(row, f"ours, SASRec {loss}, batches of equal targets")])
        if "tuned" in options.ours:
            row, _ = train("sasrec", split, seed, every=options.every, dropout=0.3, long_histories="windows", **common)
            save([flat(row, "ours, SASRec ce, long histories in stretches")])
        for name in options.recipes:
            part = load(name).backbone
            assert part is not None
            row, _ = train(part.name, split, seed, every=options.every, **part.config.model_dump())
            save([flat(row, f"ours, recipe {name}")])


def run_peers(options: argparse.Namespace, split: Split, save: Any) -> None:
    with TemporaryDirectory() as folder:
        write_data(split, Path(folder) / "data.npz")
        asked = {
            "data": f"{folder}/data.npz", "dim": options.dim, "blocks": 2, "heads": 1, "dropout": options.dropout,
            "max_history": options.max_history, "batch_size": options.batch, "learning_rate": 1e-3,
            "epochs": options.epochs, "piece": options.every, "repeats": 1, "threads": options.threads,
            "max_s": options.recbole_s, "recbole_batch": options.recbole_batch, "max_train_s": options.rectools_s,
            "max_steps": options.rectools_steps,
            # a run in pieces is about SASRec alone
            "ease_l2": [] if options.rectools_steps else [options.ease_l2],
        }  # fmt: skip
        for peer in options.only:
            seeds = options.recbole_seeds if peer == "recbole" else options.seeds
            if peer == "rectools" and options.no_rectools_sasrec:
                seeds = []
            path = Path(folder) / f"{peer}.json"
            path.write_text(json.dumps({**asked, "seeds": seeds, "out": f"{folder}/{peer}-result"}))
            run_worker(peer, options.peers.resolve(), path, options.threads)
            rows = json.loads(Path(f"{folder}/{peer}-result.json").read_text())
            label = {
                "rectools-sasrec": "RecTools, SASRec",
                "recbole-sasrec": "RecBole, SASRec",
                "ease": "RecTools, EASE",
            }
            save(
                [
                    flat(row, label[row["model"]])
                    if "curve" in row
                    else {"label": label.get(row["model"], f"implicit, {row['model']}"), **row}
                    for row in rows
                ]
            )


if __name__ == "__main__":
    main()
