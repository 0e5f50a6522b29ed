"""Lists of all users beside implicit and RecTools: the same vectors, the same lists, one process after the other.

    python benchmarks/speed/batch.py --peers PEERS_FOLDER --out RESULT.json

Users and items have random vectors and a history of some 40 items, which may not come out. Ours reads external ids and
writes one parquet file (`recommend_all`); the others give their lists in memory, without a file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))

import numpy as np
import polars as pl
from ours import card, write
from venvs import WORKERS, environment, python_of

import interlingua

ENGINES = ("interlingua", "implicit", "rectools")
NOTE = (
    "s, cpu_s: median wall and CPU seconds for all users, from external ids to one parquet file (ours), to arrays of "
    "row numbers (implicit), to a frame (RecTools); loading is not counted. ratio: theirs / ours. same_rows: share of "
    "places with the same item as ours; the scores differ by rounding at most (asserted)."
)


def world(folder: Path, users: int, items: int, dim: int, events: int) -> Path:
    """Random vectors and events for all sides; the path of a run of ours over them."""
    rng = np.random.default_rng(0)
    user_vectors = rng.standard_normal((users, dim), dtype=np.float32)
    item_vectors = rng.standard_normal((items, dim), dtype=np.float32)
    item_vectors *= rng.gamma(4, 0.25, (items, 1)).astype(np.float32)
    chance = 1 / np.arange(1, items + 1) ** 0.8
    who = np.repeat(np.arange(users), events)
    pairs = np.unique(who * items + rng.choice(items, len(who), p=chance / chance.sum()))
    missing = np.setdiff1d(np.arange(items), pairs % items)  # a catalogue is what somebody had
    pairs = np.unique(np.concatenate([pairs, rng.integers(0, users, len(missing)) * items + missing]))
    rng.shuffle(pairs)
    np.savez(
        folder / "data.npz", users=pairs // items, items=pairs % items, user_vectors=user_vectors,
        item_vectors=item_vectors,
    )  # fmt: skip
    for name, table in (("users", user_vectors), ("items", item_vectors)):
        ids = [str(number) for number in range(len(table))]
        pl.DataFrame({"id": ids, "vector": table}).write_parquet(folder / f"{name}.parquet")
    events_file = folder / "events.parquet"
    frame = pl.DataFrame({"user_id": pairs // items, "item_id": pairs % items, "timestamp": np.arange(len(pairs))})
    frame.with_columns(pl.col("user_id", "item_id").cast(pl.String)).write_parquet(events_file)
    recipe = {
        "data": {"name": str(events_file), "split": "leave-one-out", "filter": {"min_user": 1, "min_item": 1}},
        "backbone": {"name": "pretrained", **{n: str(folder / f"{n}.parquet") for n in ("users", "items")}},
        "evaluate": {"max_users": 10},
    }
    return interlingua.run(recipe, out=folder / "runs").path


def lists(engine: str, folder: Path, peers: Path, asked: dict[str, Any]) -> tuple[dict[str, Any], Any, Any]:
    """One engine in a process of its own."""
    out = str(folder / engine)
    options = folder / "options.json"
    options.write_text(json.dumps({**asked, "engine": engine, "data": str(folder / "data.npz"), "out": out}))
    python = sys.executable if engine == "interlingua" else python_of(engine, peers)
    subprocess.run(
        [python, WORKERS / "batch_worker.py", options], check=True, stdout=sys.stderr,
        env={**os.environ, **environment(asked["threads"])},
    )  # fmt: skip
    with np.load(f"{out}.npz", allow_pickle=False) as stored:
        return json.loads(Path(f"{out}.json").read_text()), stored["rows"], stored["scores"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peers", type=Path, required=True, help="folder for the peers' environments")
    parser.add_argument("--out", type=Path, required=True, help="result JSON")
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--items", type=int, nargs="*", default=[20_000, 100_000])
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--events", type=int, default=40)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    result: dict[str, Any] = {**card(__file__, max(options.threads), NOTE), "rows": []}
    for items in options.items:
        with TemporaryDirectory() as name:
            folder = Path(name)
            run = world(folder, options.users, items, options.dim, options.events)
            for threads in options.threads:
                asked = {"threads": threads, "k": options.k, "repeats": options.repeats, "run": str(run)}
                found = {engine: lists(engine, folder, options.peers.resolve(), asked) for engine in ENGINES}
                _, rows, scores = found["interlingua"]
                ours = {what: median(t[what] for t in found["interlingua"][0]["took"]) for what in ("s", "cpu_s")}
                for engine, (figures, theirs, their_scores) in found.items():
                    worst = float(np.abs(scores - their_scores).max())
                    assert worst < 1e-3, f"{engine}: scores differ by {worst}"
                    took = {what: round(median(t[what] for t in figures["took"]), 2) for what in ours}
                    row = {"users": options.users, "items": items, "k": options.k, "threads": threads, "engine": engine}
                    row |= {"version": figures["version"], **took}
                    row |= {"users_per_s": round(options.users / took["s"])}
                    row |= {f"ratio_{what}": round(took[what] / ours[what], 2) for what in ours}
                    row |= {"same_rows": round(float((theirs == rows).mean()), 5), "all": figures["took"]}
                    result["rows"].append(row)
                    print(json.dumps({key: value for key, value in row.items() if key != "all"}), flush=True)
                write(options.out, result)


if __name__ == "__main__":
    main()
