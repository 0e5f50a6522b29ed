"""One timed exact search, run as a process of its own: ``topk_worker.py OPTIONS`` with ``engine`` faiss or interlingua.

The options name ``.npy`` files of items and queries; rows and scores go to an ``.npz`` beside figures in a JSON file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from exchange import Clock


def peak_mib() -> float:
    """Peak memory of this process (getrusage would give the parent's where that is larger)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def with_faiss(items: np.ndarray, queries: np.ndarray, asked: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    import faiss

    faiss.omp_set_num_threads(asked["threads"])
    with Clock() as adding:
        index = faiss.IndexFlatIP(items.shape[1])
        index.add(items)
    index.search(queries[:16], 10)
    before = peak_mib()
    with Clock() as clock:
        scores, rows = index.search(queries, asked["k"])
    figures = {"version": faiss.__version__, "build": faiss.get_compile_options(), "add_s": adding.wall_s}
    return rows, scores, figures | took(clock, before)


def with_interlingua(items: np.ndarray, queries: np.ndarray, asked: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    import torch

    from interlingua import __version__
    from interlingua.retrieval.topk import top_k

    torch.set_num_threads(asked["threads"])
    table, users = torch.from_numpy(items), torch.from_numpy(queries)
    top_k(users[:16], table[:5000], 10)
    before = peak_mib()
    with Clock() as clock:
        found = top_k(users, table, asked["k"])
    return found.indices, found.scores, {"version": __version__, "torch": torch.__version__} | took(clock, before)


def took(clock: Clock, before: float) -> dict[str, float]:
    return {
        "search_s": round(clock.wall_s, 2),
        "search_cpu_s": round(clock.cpu_s, 2),
        "memory_above_vectors_mib": round(peak_mib() - before, 1),
        "peak_mib": round(peak_mib(), 1),
    }


def main() -> None:
    asked = json.loads(Path(sys.argv[1]).read_text())
    items, queries = np.load(asked["items"]), np.load(asked["queries"])
    search = {"faiss": with_faiss, "interlingua": with_interlingua}[asked["engine"]]
    rows, scores, figures = search(items, queries, asked)
    np.savez(asked["out"] + ".npz", rows=rows, scores=scores)
    Path(asked["out"] + ".json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
