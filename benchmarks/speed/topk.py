"""Exact top-k of dot products beside faiss-cpu's IndexFlatIP: seconds, memory, and whether the results are the same.

    python benchmarks/speed/topk.py --peers PEERS_FOLDER --out RESULT.json

One process after the other on the same vectors and the same number of threads. Results are compared twice: on normal
random vectors (scores within rounding, and the same items but for scores that rounding cannot tell apart), and on
whole-number vectors, whose scores are exact, so that they must be equal to the last bit.
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
from ours import card, write
from venvs import WORKERS, python_of

NOTE = (
    "search_s: wall seconds of the search alone; faiss copies the vectors into its index before (add_s), ours reads "
    "them where they are. memory_above_vectors_mib: growth of the process's peak during the search. ratio: faiss / "
    "ours, of medians; that of CPU seconds is the one that other programs on the machine disturb least. faiss from its "
    "PyPI wheel, with the OpenBLAS that the wheel brings."
)


def vectors(kind: str, rows: int, dim: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "whole":  # products and sums of 64 of them are exact in float32
        return rng.integers(-200, 201, (rows, dim)).astype(np.float32)
    return rng.standard_normal((rows, dim), dtype=np.float32)


def search(engine: str, folder: Path, peers: Path, threads: int, k: int) -> tuple[dict[str, Any], Any, Any]:
    """One search in a process of its own."""
    out = folder / engine
    asked = {"engine": engine, "threads": threads, "k": k, "out": str(out)}
    asked |= {"items": str(folder / "items.npy"), "queries": str(folder / "queries.npy")}
    (folder / "options.json").write_text(json.dumps(asked))
    python = python_of("faiss", peers) if engine == "faiss" else sys.executable
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    subprocess.run(
        [python, WORKERS / "topk_worker.py", folder / "options.json"], check=True, stdout=sys.stderr, env=environment
    )
    with np.load(f"{out}.npz", allow_pickle=False) as stored:
        return json.loads(Path(f"{out}.json").read_text()), stored["rows"], stored["scores"]


def compare(ours: tuple[Any, Any], theirs: tuple[Any, Any], *, exact: bool) -> dict[str, Any]:
    """Asserts that both found the same.

    Where neighbours in a list have scores that cannot be told apart (equal; for real numbers within rounding), their
    order, and at the end of the list which of them is in it, is open.
    """
    (rows, scores), (other_rows, other_scores) = ours, theirs
    tolerance = 0.0 if exact else 1e-4
    worst = float(np.abs(scores - other_scores).max())
    assert worst <= tolerance, f"scores differ by {worst}"
    gap = np.abs(np.diff(scores, axis=1)) <= tolerance
    open_place = np.zeros(scores.shape, bool)
    open_place[:, 1:] |= gap
    open_place[:, :-1] |= gap
    open_place[:, -1] = True  # the next one, which the list does not show, may be as good
    same = rows == other_rows
    assert (same | open_place).all(), "different items where the scores leave no choice"
    return {"largest_difference_of_scores": worst, "share_of_equal_rows": float(same.mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peers", type=Path, required=True, help="folder for the peers' environments")
    parser.add_argument("--out", type=Path, required=True, help="result JSON")
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--k", type=int, nargs="*", default=[10, 100])
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    shape = {"users": options.users, "items": options.items, "dim": options.dim}
    result: dict[str, Any] = {**card(__file__, max(options.threads), NOTE), **shape, "rows": []}
    python_of("faiss", options.peers.resolve())
    with TemporaryDirectory() as name:
        folder = Path(name)
        for kind, users in (("whole", min(1000, options.users)), ("normal", options.users)):
            np.save(folder / "items.npy", vectors(kind, options.items, options.dim, 1))
            np.save(folder / "queries.npy", vectors(kind, users, options.dim, 2))
            for threads in options.threads if kind == "normal" else [min(options.threads)]:
                for k in options.k:
                    engines: dict[str, list[Any]] = {"interlingua": [], "faiss": []}
                    for _ in range(options.repeats if kind == "normal" else 1):
                        for engine, found in engines.items():
                            found.append(search(engine, folder, options.peers.resolve(), threads, k))
                    row: dict[str, Any] = {"vectors": kind, "users": users, "k": k, "threads": threads}
                    row |= compare(engines["interlingua"][0][1:], engines["faiss"][0][1:], exact=kind == "whole")
                    for what in ("s", "cpu_s"):
                        times = {e: median(f[0][f"search_{what}"] for f in found) for e, found in engines.items()}
                        row |= {f"ours_{what}": times["interlingua"], f"faiss_{what}": times["faiss"]}
                        row[f"ratio_{what}"] = round(times["faiss"] / times["interlingua"], 2)
                    for engine, found in engines.items():
                        row[f"{engine}_mib"] = median(f[0]["memory_above_vectors_mib"] for f in found)
                    row |= {engine: [f[0] for f in found] for engine, found in engines.items()}
                    result["rows"].append(row)
                    write(options.out, result)
                    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
