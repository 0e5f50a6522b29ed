"""Tests over users and seeds for result files from before each user's values were kept.

    python benchmarks/quality/rlmrec_retest.py results/rlmrec-cheaper-movielens-small.json ...

Such a file has every run's mean and the bootstrap interval over users of every tested difference. The users' part of a
test is a normal distribution of that interval's width, the seeds' part is resampled from the runs' means as ``compare``
does it, and all tests of a table are one Holm family. Means get the epochs of their runs. Files that have users' values
beside them are left to ``rlmrec.py``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rlmrec_results import gains, one_family, users_file, write

from interlingua.evaluate.compare import PAIRED_RESAMPLES, bootstrap_p
from interlingua.evaluate.intervals import seed_deviations

WIDTH = 2 * 1.959964
"""standard deviations in a 95 % interval"""


def retested(test: dict[str, Any], seeds: dict[str, list[float]]) -> dict[str, Any]:
    """The test of one difference with the spread of its seeds in it."""
    first, second = (np.array(seeds[test[side]]) for side in ("method", "against"))
    observed = float(first.mean() - second.mean())
    low, high = test.get("users interval", test["interval"])
    means = observed + np.random.default_rng(0).normal(0, (high - low) / WIDTH, PAIRED_RESAMPLES)
    means += seed_deviations([first, -second], resamples=PAIRED_RESAMPLES)
    return {
        "method": test["method"], "against": test["against"], "seeds": f"{len(first)}, {len(second)}",
        "recall@20 difference": round(observed, 5), "relative": round(observed / float(second.mean()), 4),
        "interval": [round(float(v), 5) for v in np.quantile(means, [0.025, 0.975])], "users interval": [low, high],
        "p": bootstrap_p(means, observed),
    }  # fmt: skip


def retest(result: dict[str, Any]) -> None:
    """Rewrites the tests, gains and lengths of one result."""
    seeds: dict[str, list[float]] = {}
    epochs: dict[str, list[int]] = {}
    for row in result["rows"]:
        seeds.setdefault(row["method"], []).append(row["recall@20"])
        epochs.setdefault(row["method"], []).append(row["epochs"])
    for line in result["mean"]:
        line["epochs"] = round(float(np.mean(epochs[line["method"]]))) or None
    for table in ("tests", "texts"):
        result[table] = one_family([retested(test, seeds) for test in result.get(table, [])])
    result["gains"] = gains(result["mean"], result["tests"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    for file in parser.parse_args().files:
        if users_file(file).is_file():
            raise SystemExit(f"{file} has its users' values beside it: rlmrec.py align tests those")
        result = json.loads(file.read_text(encoding="utf-8"))
        retest(result)
        write(result, file)


if __name__ == "__main__":
    main()
