"""How long 10 million events take from file to prepared dataset, and how much memory: read, check, 5-core, split, save.

    python benchmarks/speed/prepare.py [--events 10000000] [--repeats 3] [--out benchmarks/speed/results/prepare.json]

Each measurement is a process of its own (its start included), so that the peak memory is that of this work alone. Aim:
under 60 s and 4 GB for each format on 2 cores. Processor seconds tell what a machine that others load would do alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import polars as pl
from header import header

LIMIT_S, LIMIT_BYTES = 60.0, 4 << 30
CHILD = """
import sys
from interlingua.data.prepare import FilterConfig, prepare, save
prepared = prepare(sys.argv[1], filter=FilterConfig(min_user=5, min_item=5))
save(prepared, sys.argv[2])
"""


def generate(events: int, folder: Path, seed: int = 7) -> dict[str, Path]:
    """The same events as parquet and csv: long-tailed users and items, ids of 10-14 characters, unsorted times."""
    random = np.random.default_rng(seed)
    num_users, num_items = max(events // 20, 1), max(events // 100, 1)
    users = (num_users * random.random(events) ** 1.7).astype(np.int64)
    items = (num_items * random.random(events) ** 2.5).astype(np.int64)
    user_ids = pl.Series([f"A{n * 2654435761 % 2**40:011X}" for n in range(num_users)])
    item_ids = pl.Series([f"B{n:09d}" for n in range(num_items)])
    frame = pl.DataFrame(
        {
            "user_id": user_ids.gather(users),
            "item_id": item_ids.gather(items),
            "rating": random.integers(1, 6, events).astype(np.float32),
            "timestamp": random.integers(1_300_000_000, 1_700_000_000, events),
        }
    )
    paths = {"parquet": folder / "events.parquet", "csv": folder / "events.csv"}
    frame.write_parquet(paths["parquet"])
    frame.write_csv(paths["csv"])
    return paths


def measure(source: Path, out: Path) -> tuple[float, float, int]:
    """Wall seconds, processor seconds and peak resident bytes of one preparation."""
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(source), str(out)], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"preparing {source} failed with exit code {child.returncode}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "prepare.json")
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = generate(arguments.events, folder)
        for kind, path in paths.items():
            runs = [measure(path, folder / f"out-{kind}") for _ in range(arguments.repeats)]
            card = json.loads((folder / f"out-{kind}" / "card.json").read_text())
            results[kind] = {
                "seconds_median": round(statistics.median(s for s, _, _ in runs), 2),
                "seconds": [round(s, 2) for s, _, _ in runs],
                "processor_seconds": [round(s, 2) for _, s, _ in runs],
                "peak_bytes_max": max(b for _, _, b in runs),
                "source_bytes": path.stat().st_size,
                "counts": card["counts"],
                "fingerprint": card["fingerprint"],
                "within_limits": max(s for s, _, _ in runs) < LIMIT_S and max(b for _, _, b in runs) < LIMIT_BYTES,
                # all threads' processor time: on an idle machine even one core would need no longer
                "within_limits_if_idle": max(c for _, c, _ in runs) < LIMIT_S
                and max(b for _, _, b in runs) < LIMIT_BYTES,
            }
            print(
                f"{kind}: {results[kind]['seconds_median']} s (processor {results[kind]['processor_seconds']}), "
                f"{results[kind]['peak_bytes_max'] / 2**30:.2f} GiB, load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    report = {
        **header(__file__),
        "load_average_at_end": round(os.getloadavg()[0], 2),
        "events": arguments.events,
        "limit_seconds": LIMIT_S,
        "limit_bytes": LIMIT_BYTES,
        "benchmark_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "results": results,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
