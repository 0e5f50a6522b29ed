"""Runs wrk on this machine's own addresses, for a bounded time, and reads what it measured."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

MOST_S = 900
"""of one call"""
PROGRAM = """
local bodies, at, step = {}, 0, 1
for line in io.lines("%(bodies)s") do bodies[#bodies + 1] = line end
local threads = 0
function setup(thread) thread:set("number", threads); threads = threads + 1 end
function init(args)
  requests = {}
  for i, body in ipairs(bodies) do
    local kind = {["Content-Type"] = "application/json"}
    requests[i] = wrk.format("%(method)s", "%(path)s", kind, body ~= "" and body or nil)
  end
  at = (number * 7919) %% #requests
end
function request()
  at = at %% #requests + 1
  return requests[at]
end
function done(summary, latency, requests)
  local e = summary.errors
  local found = {
    requests = summary.requests, seconds = summary.duration / 1e6, refused = e.status, timeouts = e.timeout,
    broken = e.connect + e.read + e.write, p50_ms = latency:percentile(50) / 1000,
    p99_ms = latency:percentile(99) / 1000, max_ms = latency.max / 1000,
  }
  local parts = {}
  for name, value in pairs(found) do parts[#parts + 1] = string.format('"%%s": %%.6g', name, value) end
  io.write("\\n@{" .. table.concat(parts, ", ") .. "}\\n")
end
"""


def load(
    port: int, path: str, clients: int, seconds: int, bodies: list[dict[str, Any]] | None = None, timeout_s: int = 60
) -> dict[str, Any]:
    """So many clients that ask without a pause, each on a connection of its own.

    Args:
        port: of 127.0.0.1; no other host is asked.
        path: of the requests.
        clients: connections.
        seconds: how long.
        bodies: of the requests (POST), one after the other; None: GET.
        timeout_s: after which wrk counts a request as lost.

    Returns:
        ``rate`` (answers with status 200 per second), ``p50_ms`` and ``p99_ms`` of all answers, numbers of others.
    """
    found = shutil.which("wrk")
    if found is None:
        sys.exit("wrk is not installed: apt-get install wrk")
    with TemporaryDirectory() as name:
        folder = Path(name)
        lines = [""] if bodies is None else [json.dumps(body) for body in bodies]
        (folder / "bodies").write_text("\n".join(lines) + "\n")
        method = "GET" if bodies is None else "POST"
        program = PROGRAM % {"bodies": folder / "bodies", "method": method, "path": path}
        (folder / "ask.lua").write_text(program)
        command = [found, "-t1", f"-c{clients}", f"-d{min(seconds, MOST_S)}s", f"--timeout={timeout_s}s"]
        command += ["-s", str(folder / "ask.lua"), f"http://127.0.0.1:{port}"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds + timeout_s + 60)
    line = next((line[1:] for line in ended.stdout.splitlines() if line.startswith("@")), None)
    if line is None:
        raise RuntimeError(f"wrk: {ended.stdout}{ended.stderr}")
    out: dict[str, Any] = json.loads(line)
    answered = out["requests"] - out["refused"]
    return {"rate": round(answered / out["seconds"], 1)} | {
        key: round(value, 2) if key.endswith("_ms") else value for key, value in out.items()
    }
