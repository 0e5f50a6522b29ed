"""Servers in processes of their own, on free ports of this machine, and what they take of it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
HERE = Path(__file__).resolve().parent


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, path: str, body: Any = None, timeout: float = 60.0) -> tuple[int, bytes]:
    """Status and content of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        content = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Running:
    """A server that was started."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    @property
    def pids(self) -> list[int]:
        """The process and its children."""
        found = [self.process.pid]
        for pid in found:
            with suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def cpu_s(self) -> float:
        """CPU seconds of all processes so far."""
        total = 0.0
        for pid in self.pids:
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += (int(fields[11]) + int(fields[12])) / TICKS
        return total

    def memory_mib(self, pid: int | None = None) -> dict[str, float]:
        """Resident memory, and the part of it that is this process's share (``pss``), or its alone (``own``)."""
        lines = Path(f"/proc/{pid or self.process.pid}/smaps_rollup").read_text().splitlines()[1:]
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        own = kib["Private_Clean"] + kib["Private_Dirty"]
        return {
            name: round(value / 1024, 1) for name, value in (("rss", kib["Rss"]), ("pss", kib["Pss"]), ("own", own))
        }


@contextmanager
def started(command: list[str], port: int, ready: str, environment: dict[str, str] | None = None) -> Iterator[Running]:
    """A server, from its first answer on ``ready`` until the end of the block."""
    process = subprocess.Popen(
        command, env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 180
        while True:
            with suppress(OSError):
                if ask(port, ready, timeout=5)[0] < 500:
                    break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{' '.join(command)} did not start (status {process.poll()})")
            time.sleep(0.05)
        yield Running(process, port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def served(run: Path, *options: str, environment: dict[str, str] | None = None) -> Any:
    """``interlingua serve RUN``."""
    port = free_port()
    command = [sys.executable, "-m", "interlingua.cli.main", "serve", str(run), "--port", str(port), *options]
    return started(command, port, "/health/ready", environment)


def echoing(size: int, workers: int = 1) -> Any:
    """The echo, run by uvicorn as it comes."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "echo:app", "--app-dir", str(HERE), "--port", str(port)]
    command += ["--workers", str(workers)] if workers > 1 else []
    return started(command, port, "/docs", {"ECHO_BYTES": str(size)})
