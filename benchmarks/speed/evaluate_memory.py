"""Full ranking of many users over many items: users per second and peak memory of the process.

python benchmarks/speed/evaluate_memory.py --users 100000 --items 100000 --dim 64
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import numpy as np
import torch

from interlingua.contracts.scorer import TableScorer
from interlingua.data.interactions import Interactions
from interlingua.data.split import GroundTruth, Split
from interlingua.evaluate.protocol import evaluate


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--protocol", default="full")
    parser.add_argument("--max-users", type=int, help="rank a random subset only")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    events = np.repeat(np.arange(options.users), 10)
    ids = np.arange(options.users).astype(str), np.arange(options.items).astype(str)
    train = Interactions.of(*ids, events, rng.integers(0, options.items, len(events)))
    empty = GroundTruth.of(np.zeros(0, np.int64), np.zeros(0, np.int64))
    test = GroundTruth.of(np.arange(options.users), rng.integers(0, options.items, options.users))
    users = torch.from_numpy(rng.normal(size=(options.users, options.dim)).astype(np.float32))
    items = torch.from_numpy(rng.normal(size=(options.items, options.dim)).astype(np.float32))
    scorer = TableScorer(items, lambda queries: users[torch.from_numpy(np.asarray(queries.users))])
    before, started, cpu = peak_mib(), time.perf_counter(), time.process_time()
    split = Split(train, empty, test, "leave-one-out")
    report = evaluate(scorer, split, protocol=options.protocol, max_users=options.max_users)
    result = {
        "protocol": report.protocol,
        "users": options.users,
        "items": options.items,
        "dim": options.dim,
        "threads": torch.get_num_threads(),
        "ranking_s": round(report.seconds, 2),
        "with_intervals_and_slices_s": round(time.perf_counter() - started, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "users_ranked": report.n_users,
        "users_per_s": round(report.n_users / report.seconds),
        "data_and_vectors_mib": round(before),
        "peak_mib": round(peak_mib()),
        "users_x_items_would_be_mib": round(4 * options.users * options.items / 2**20),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
