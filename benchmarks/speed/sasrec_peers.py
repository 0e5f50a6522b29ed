"""SASRec beside RecTools' and RecBole's: time of an epoch, time to the peer's quality, users ranked per second.

    python benchmarks/speed/sasrec_peers.py --data movielens-small --peers PEERS_FOLDER --out RESULT.json

Makes each peer's virtual environment in PEERS_FOLDER on first use. Same leave-one-out split, same width, blocks, heads,
positions, dropout, step size and loss (softmax over all items); one run, one after the other; medians of ``--repeats``.
Ratios are of CPU seconds, which other programs on the machine disturb least; wall seconds stand beside them.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))

import torch
from ours import best, card, split_of, train, write, write_data
from venvs import enter, run_worker

NOTE = (
    "CPU seconds; evaluation is outside the training clock. RecBole trains one padded row per prefix and is stopped "
    "after max_s CPU seconds; its epoch is scaled from the steps done. 'cpu_s_to_peer_quality' is our time until our "
    "validation NDCG@10 is at least the peer's best of this run, against the peer's own time until that point."
)


def epoch_seconds(row: dict[str, Any]) -> list[float]:
    """CPU seconds of each epoch (scaled from the steps done where a peer was stopped early)."""
    points = [{"epoch": 0, "train_cpu_s": 0.0}, *row["curve"]]
    scale = 1.0
    if row.get("steps_done_per_epoch"):
        scale = row["steps_per_epoch"] / min(row["steps_done_per_epoch"], row["steps_per_epoch"])
    return [scale * (b["train_cpu_s"] - a["train_cpu_s"]) / (b["epoch"] - a["epoch"]) for a, b in pairwise(points)]


def reached(row: dict[str, Any], quality: float) -> float | None:
    """CPU seconds until validation NDCG@10 is at least ``quality``."""
    return next((p["train_cpu_s"] for p in row["curve"] if p["valid"]["ndcg@10"] >= quality), None)


def compare(ours: dict[str, Any], tuned: dict[str, Any] | None, peer: dict[str, Any], users: int) -> dict[str, Any]:
    """Ratios of one peer's figures to ours."""
    mine, theirs = median(epoch_seconds(ours)), median(epoch_seconds(peer))
    speed = [users / median(row["recommend_cpu_s"]) for row in (ours, peer)]
    target = best(peer)
    out: dict[str, Any] = {
        "epoch_cpu_s": {"ours": mine, "peer": theirs, "ratio": theirs / mine},
        "users_ranked_per_cpu_s": {"ours": speed[0], "peer": speed[1], "ratio": speed[0] / speed[1]},
        "peer_quality": {"epoch": target["epoch"], "valid": target["valid"], "test": target["test"]},
    }
    times = {"ours_same_budget": reached(ours, target["valid"]["ndcg@10"])}
    if tuned is not None:
        times["ours_tuned"] = reached(tuned, target["valid"]["ndcg@10"])
    out["cpu_s_to_peer_quality"] = {"peer": target["train_cpu_s"], **times}
    out["cpu_s_to_peer_quality"] |= {f"ratio_{k}": target["train_cpu_s"] / v for k, v in times.items() if v}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="movielens-small")
    parser.add_argument("--peers", type=Path, required=True, help="folder for the peers' environments")
    parser.add_argument("--out", type=Path, required=True, help="result JSON")
    parser.add_argument("--only", nargs="*", default=["rectools", "recbole"])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--max-history", type=int, default=50)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--max-steps", type=int, help="steps of a RecTools epoch (its time is then scaled)")
    parser.add_argument("--max-s", type=float, default=120.0, help="CPU seconds of RecBole's training")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--no-tuned", action="store_true", help="leave out the tuned recipe (long histories in stretches)"
    )
    options = parser.parse_args()
    enter(options.threads)
    torch.set_num_threads(options.threads)
    split = split_of(options.data)
    users = len(split.test)
    common = {"embedding_dim": options.dim, "max_history": options.max_history, "loss": "ce"}
    fit = {"learning_rate": 1e-3, "batch_size": options.batch, "epochs": options.epochs}
    result: dict[str, Any] = {**card(__file__, options.threads, NOTE), "data": options.data, "seeds": [options.seed]}
    ours, _ = train("sasrec", split, options.seed, repeats=options.repeats, dropout=options.dropout, fit=fit, **common)
    result["ours"] = ours
    tuned = None
    if not options.no_tuned:
        tuned, _ = train("sasrec", split, options.seed, dropout=0.3, long_histories="windows", fit=fit, **common)
        result["ours_tuned"] = tuned
    write(options.out, result)
    with TemporaryDirectory() as folder:
        write_data(split, Path(folder) / "data.npz")
        asked = {
            "data": f"{folder}/data.npz", "dim": options.dim, "blocks": 2, "heads": 1, "dropout": options.dropout,
            "max_history": options.max_history, "batch_size": options.batch, "learning_rate": 1e-3,
            "epochs": options.epochs, "piece": 1, "repeats": options.repeats, "threads": options.threads,
            "seeds": [options.seed], "max_s": options.max_s, "max_steps": options.max_steps,
        }  # fmt: skip
        for peer in options.only:
            path = Path(folder) / f"{peer}.json"
            path.write_text(json.dumps({**asked, "out": f"{folder}/{peer}-result"}))
            run_worker(peer, options.peers.resolve(), path, options.threads)
            (row,) = json.loads(Path(f"{folder}/{peer}-result.json").read_text())
            result[peer] = row
            result[f"ratios_{peer}"] = compare(ours, tuned, row, users)
            write(options.out, result)
            print(json.dumps({peer: result[f"ratios_{peer}"]}, indent=1))


if __name__ == "__main__":
    main()
