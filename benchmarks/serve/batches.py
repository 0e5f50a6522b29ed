"""The gain of ranking the lists of several clients in one batch of the language model: with it and without.

python benchmarks/serve/batches.py --runs FOLDER --out RESULT.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from header import header
from rates import RUNS, bodies_of
from servers import free_port, started
from wrk import load

import interlingua

PROGRAM = (
    "import sys, interlingua.serve.queue as q; q.MOST = int(sys.argv.pop(1)); "
    "from interlingua.cli.main import main; main()"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs; finished ones are used again")
    parser.add_argument("--out", type=Path, required=True, help="result JSON")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args()
    recipe, data, overrides = RUNS["llm-only"]
    run = interlingua.run(recipe, data=data, overrides=overrides, out=options.runs / "llm-only", device="cpu").path
    bodies, _ = bodies_of(run)
    result: dict[str, Any] = {**header(__file__), "clients": options.clients, "rows": []}
    for most in (1, 16):
        port = free_port()
        command = [sys.executable, "-c", PROGRAM, str(most), "serve", str(run), "--port", str(port)]
        with started(command, port, "/health/ready") as server:
            load(port, "/v1/recommend", options.clients, 2, bodies)
            before = server.cpu_s()
            found = load(port, "/v1/recommend", options.clients, options.seconds, bodies)
            row = {"at most in one batch": most} | {key: found[key] for key in ("rate", "p50_ms", "p99_ms", "refused")}
            row["cpu_ms"] = round(1000 * (server.cpu_s() - before) / max(found["requests"], 1), 1)
        result["rows"].append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    alone, together = result["rows"]
    result["gain_cpu"] = round(alone["cpu_ms"] / together["cpu_ms"], 2)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
