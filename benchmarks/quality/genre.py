"""The paper's language task, counted: a user's favourite genre, asked of a language model after the latest titles.

    python benchmarks/quality/genre.py --data movielens-small --out RESULT.json

The truth is the user's most frequent genres over the whole training history. Every setting is a row: how much of the
answer's own frequency is subtracted, and how many titles are shown; the constant answer that is right most often stands
beside them. Nothing is trained and nothing chosen here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from interlingua.data.prepare import FilterConfig, SplitConfig, prepare
from interlingua.explain.genre import evaluate_genres
from interlingua.lm.load import load
from interlingua.lm.prompt import compile_template


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="movielens-small")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--users", type=int, default=None, help="a random subset (default: all)")
    parser.add_argument("--history", type=int, nargs="+", default=[5], help="titles shown")
    parser.add_argument("--calibration", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    prepared = prepare(
        options.data, filter=FilterConfig(min_user=5, min_item=5), split=SplitConfig(name="leave-one-out"), quiet=True
    )
    train, catalogue = prepared.split.train, prepared.catalogue
    lm = load(options.model)
    prompts = compile_template("genre", lm, catalogue.titles, catalogue.domain, slots=())
    rng = np.random.default_rng(options.seed)
    users = np.sort(rng.permutation(train.num_users)[: options.users])
    rows = []
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    for history in options.history:
        for calibration in options.calibration:
            started = time.process_time()
            found = evaluate_genres(
                lm, prompts, train.queries(users), catalogue.items["categories"].to_list(),
                max_history=history, calibration=calibration,
            )  # fmt: skip
            row = {"titles": history, "calibration": calibration, **asdict(found), "distinct": len(found.answers)}
            row["most_said"], row["most_said_share"] = (
                next(iter(found.answers)),
                max(found.answers.values()) / found.users,
            )
            row["cpu_s"] = round(time.process_time() - started, 1)
            rows.append(row)
            print({k: row[k] for k in ("titles", "calibration", "top1", "top3", "most_said")}, file=sys.stderr)
            result = {
                "command": "python " + " ".join(sys.argv), "commit": commit,
                "data": options.data, "model": options.model,
                "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
                "seeds": [options.seed], "rows": rows,
            }  # fmt: skip
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
