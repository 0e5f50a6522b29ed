"""Requests per second and latencies of the service beside a bare FastAPI echo of the same answer size, in one run.

    python benchmarks/serve/rates.py --runs FOLDER --out RESULT.json

wrk asks on the loopback address, with as many connections as there are clients, for a few seconds each; service and
echo take turns. ``ratio``: ours / echo. Also: ten times as many clients as the line takes, health meanwhile, and what a
further worker process takes of memory.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from header import header
from servers import Running, ask, echoing, served
from wrk import load

import interlingua

FULL = ('evaluate.protocols=["full"]', "evaluate.max_users=100")
LARGE = ("data.options={num_users=14000,num_items=10200}", "data.filter={min_user=1,min_item=1}")
MIDDLE = ("data.options={num_users=4000,num_items=10000}",)
SMALL = ("data.options={num_users=400,num_items=300}", "evaluate.max_users=2", "evaluate.retrieve=10")
RUNS = {
    "itemknn": ("itemknn", "planted", (*FULL, *LARGE)),
    "all-round": ("all-round", "planted", ('evaluate.protocols=["full"]', *MIDDLE)),
    "all-round-movielens": ("all-round", "movielens-small", ()),
    "llm-only": ("llm-only", "planted", ('evaluate.protocols=["full"]', *SMALL)),
}
LLM_SECONDS = 20
"""at least, for a language model: a list takes it a second"""


def bodies_of(run: Path, count: int = 1000) -> tuple[list[dict[str, Any]], int]:
    """Questions for random users, and the number of items."""
    recommender, rng = interlingua.load(run, "cpu"), random.Random(0)
    users = [str(user) for user in recommender.train.user_ids]
    return [{"user_id": rng.choice(users), "k": 10} for _ in range(count)], recommender.train.num_items


def measured(server: Running, path: str, clients: int, seconds: int, bodies: list[dict[str, Any]]) -> dict[str, Any]:
    before = server.cpu_s()
    found = load(server.port, path, clients, seconds, bodies)
    found["cpu_ms"] = round(1000 * (server.cpu_s() - before) / max(found["requests"], 1), 3)
    return found


def rates(name: str, run: Path, clients: list[int], seconds: int) -> list[dict[str, Any]]:
    """Rows of one run, beside the echo."""
    bodies, items = bodies_of(run)
    rows = []
    with served(run, "--queue", "512") as ours:
        ask(ours.port, "/v1/recommend", bodies[0])
        size = len(ask(ours.port, "/v1/recommend", bodies[1])[1])
        with echoing(size) as echo:
            for server, path in ((ours, "/v1/recommend"), (echo, "/echo")):
                load(server.port, path, 8, 1, bodies)
            for number in clients:
                bare = measured(echo, "/echo", number, seconds, bodies)
                own = measured(ours, "/v1/recommend", number, seconds, bodies)
                row = {"run": name, "items": items, "bytes": size, "clients": number}
                row |= {key: own[key] for key in ("rate", "p50_ms", "p99_ms", "cpu_ms", "refused", "broken")}
                row |= {f"echo_{key}": bare[key] for key in ("rate", "p50_ms", "p99_ms", "cpu_ms")}
                row |= {"ratio": round(own["rate"] / bare["rate"], 3)}
                row |= {"ratio_cpu": round(bare["cpu_ms"] / own["cpu_ms"], 3)}
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
    return rows


def crowded(server: Running, path: str, health: str, clients: int, seconds: int, bodies: Any) -> dict[str, Any]:
    """Many clients, and what ``health`` takes meanwhile, asked on a connection of its own each time."""
    found: dict[str, Any] = {}
    thread = threading.Thread(target=lambda: found.update(load(server.port, path, clients, seconds, bodies)))
    thread.start()
    time.sleep(0.5)
    took = []
    while thread.is_alive():
        began = time.perf_counter()
        status, _ = ask(server.port, health)
        took.append((time.perf_counter() - began) * 1000 if status == 200 else float("inf"))
        time.sleep(0.02)
    thread.join()
    took.sort()
    names = ("rate", "refused", "p50_ms", "p99_ms", "max_ms", "broken", "timeouts")
    median, worst = took[len(took) // 2], took[int(0.99 * len(took))]
    return {key: found[key] for key in names} | {"health_p50_ms": round(median, 1), "health_p99_ms": round(worst, 1)}


def overload(run: Path, seconds: int, *options: str, clients: int) -> dict[str, Any]:
    """Many more clients than are answered at once, and health beside them; then the same of the echo."""
    bodies, _ = bodies_of(run)
    with served(run, *options) as ours:
        out = {"clients": clients} | crowded(ours, "/v1/recommend", "/health/live", clients, seconds, bodies)
    with echoing(1300) as echo:
        bare = crowded(echo, "/echo", "/openapi.json", clients, seconds, bodies)
    out |= {f"echo_{key}": bare[key] for key in ("rate", "p99_ms", "health_p50_ms", "health_p99_ms")}
    print(json.dumps(out), file=sys.stderr, flush=True)
    return out


def memory(run: Path, folder: Path) -> list[dict[str, Any]]:
    """MiB of each worker after some questions."""
    bodies, _ = bodies_of(run)
    place = folder / f"memory-{time.time_ns()}.sqlite"
    rows = []
    with served(run, "--workers", "3", "--store", str(place)) as ours:
        end = time.monotonic() + 120
        while json.loads(ask(ours.port, "/health/ready")[1])["workers"] < 3 and time.monotonic() < end:
            time.sleep(0.2)
        load(ours.port, "/v1/recommend", 32, 3, bodies)
        for number, pid in enumerate(ours.pids):
            rows.append({"process": "parent" if not number else f"worker {number}"} | ours.memory_mib(pid))
    print(json.dumps(rows), file=sys.stderr, flush=True)
    return rows


def kept(path: Path, measured_now: list[str]) -> dict[str, Any]:
    """What the result file has of runs that are not measured now (``--only``)."""
    old = json.loads(path.read_text()) if path.exists() else {}
    lists = {key: [row for row in old.get(key, ()) if row["run"] not in measured_now] for key in ("rows", "overload")}
    return lists | {"memory": {run: rows for run, rows in old.get("memory", {}).items() if run not in measured_now}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs; finished ones are used again")
    parser.add_argument("--out", type=Path, required=True, help="result JSON")
    parser.add_argument("--only", nargs="*", default=list(RUNS), choices=list(RUNS), help="others in --out stay")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 64, 256])
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    result: dict[str, Any] = {**header(__file__), **kept(options.out, options.only)}
    runs = {}
    for name in options.only:
        recipe, data, overrides = RUNS[name]
        runs[name] = interlingua.run(recipe, data=data, overrides=overrides, out=options.runs / name, device="cpu").path
    for name, run in runs.items():
        seconds = max(options.seconds, LLM_SECONDS) if name == "llm-only" else options.seconds
        result["rows"] += rates(name, run, options.clients, seconds)
    for name, more, clients in (
        ("itemknn", ("--deadline", "2"), 500),
        ("all-round", ("--deadline", "2"), 500),
        ("llm-only", ("--deadline", "4"), 170),
    ):
        if name in runs:
            found = overload(runs[name], 2 * options.seconds, *more, clients=clients)
            result["overload"].append({"run": name, "deadline_s": float(more[1])} | found)
    for name in set(runs) & {"itemknn", "all-round"}:
        result["memory"][name] = memory(runs[name], options.runs)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
