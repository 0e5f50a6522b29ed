"""``serve --log json``: every line on stderr is a JSON object, from the first to the last, whoever writes it."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("sqlalchemy")

from interlingua.runs.stages import run
from interlingua.serve.stderr_lines import StderrLines


def lines(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    assert all({"time", "level", "event"} <= line.keys() for line in found)
    return found


def test_text_becomes_lines_and_words_before_a_colon_levels() -> None:
    under = io.StringIO()
    made = StderrLines(under)
    print("note: two", "words", file=made, flush=True)
    made.write("warning: half")
    made.flush()
    assert len(under.getvalue().splitlines()) == 1
    made.write(" a line\n\n 10%\r 20%\r\nerror: gone\n")
    said = [(line["level"], line["event"]) for line in lines(under.getvalue())]
    assert said == [
        ("info", "note: two words"), ("warning", "half a line"), ("info", "10%"), ("info", "20%"), ("error", "gone"),
    ]  # fmt: skip
    assert not made.isatty()


def test_whatever_a_process_writes_there_is_json() -> None:
    program = (
        "import logging, sys, threading, warnings\n"
        "from interlingua.serve.stderr_lines import write_json_lines\n"
        "from interlingua.progress import say\n"
        "write_json_lines(); write_json_lines()\n"
        "say('warning: worker 1 died')\n"
        "warnings.warn('old')\n"
        "logging.getLogger('somebody').warning('else')\n"
        "logging.getLogger('uvicorn.error').info('started')\n"
        "def work(): raise KeyError('SECRET')\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
        "print('on stdout')\n"
        "raise ValueError('SECRET')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stdout == "on stdout\n"
    found = lines(ended.stderr)
    assert [line["level"] for line in found] == ["warning", "warning", "warning", "info", "error", "critical"]
    assert found[0]["event"] == "worker 1 died"
    assert "UserWarning: old" in found[1]["event"]
    assert [line.get("error") for line in found[4:]] == ["KeyError", "ValueError"]
    assert "SECRET" not in ended.stderr


def test_a_command_that_cannot_begin_says_so_in_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "interlingua.cli.main", "serve", str(tmp_path / "none"), "--log", "json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    (line,) = lines(ended.stderr)
    assert line["level"] == "error"
    assert str(tmp_path / "none") in line["event"]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc to find the workers")
def test_a_service_of_several_processes_from_its_start_to_its_end(tmp_path: Path) -> None:
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
    session = run("itemknn", out=tmp_path / "runs", data="planted", overrides=options, device="cpu")
    command = [sys.executable, "-m", "interlingua.cli.main", "serve", str(session.path), "--port", "0"]
    command += ["--store", str(tmp_path / "s.sqlite"), "--workers", "2", "--log", "json"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    log_text = (tmp_path / "log").read_text

    def eventually(condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + 120
        while not (found := condition()):
            assert process.poll() is None, log_text()
            assert time.monotonic() < end, log_text()
            time.sleep(0.05)
        return found

    def ready() -> bool:
        try:
            return bool(httpx.get(f"{url}/health/ready", timeout=30).json()["workers"] == 2)
        except httpx.TransportError:
            return False

    try:
        url = eventually(lambda: re.search(r"workers on (http://[\d.:]+)", log_text()))[1]
        eventually(ready)
        assert httpx.post(f"{url}/v1/recommend", json={"history": ["SECRET"]}, timeout=30).status_code == 200
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        eventually(lambda: "starting another" in log_text())
        eventually(ready)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    found = lines(log_text())
    died = next(line for line in found if "starting another" in line["event"])
    assert died["level"] == "warning"
    assert any(line.get("route") == "/v1/recommend" and line["status"] == 200 for line in found)
    assert any("Application startup complete" in line["event"] for line in found)
    assert any(line["event"].startswith("stopping") for line in found)
    assert "SECRET" not in log_text()
