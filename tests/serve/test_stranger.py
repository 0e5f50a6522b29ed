"""What docs/serving.md shows, done by a stranger: each command as it stands, in a shell, against real processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any
from urllib.request import Request, urlopen

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
STEP = re.compile(r"^## (\d)\. .*?$(.*?)(?=^## )", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"^```(\w+)[ ]?([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PATIENCE_S = 180
"""for one step, on a machine that does much else"""

pytestmark = pytest.mark.skipif(
    not (shutil.which("bash") and shutil.which("curl")), reason="the page's commands need bash and curl"
)


def held_port() -> socket.socket:
    """A port that nobody else is given: Linux lets a service listen where another socket is bound but does not."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


class Stranger:
    """Somebody who reads the page, with one shell in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.held, self.done = folder, held_port(), dict[int, str]()
        self.port = int(self.held.getsockname()[1])
        if sys.platform != "linux":
            self.held.close()
        tools = folder.parent / "bin"
        tools.mkdir()
        (tools / "interlingua").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m interlingua "$@"\n')
        (tools / "interlingua").chmod(0o755)
        paths = os.pathsep.join(str(Path(each).resolve()) for each in sys.path if each)
        self.environment = os.environ | {
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": paths, "OMP_NUM_THREADS": "1",
            "INTERLINGUA_CACHE": str(folder / ".cache"), "no_proxy": "localhost,127.0.0.1",
        }  # fmt: skip
        self.shell = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
            env=self.environment, start_new_session=True,
        )  # fmt: skip
        self.lines: Queue[str] = Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.shell.stdout is not None
        for line in self.shell.stdout:
            self.lines.put(line)

    def type(self, commands: str) -> str:
        """What the shell prints until the commands are done."""
        assert self.shell.stdin is not None
        self.shell.stdin.write(f"{commands}\necho done=$?\n")
        self.shell.stdin.flush()
        said, until = "", time.monotonic() + PATIENCE_S
        while not (found := re.search(r"^done=(\d+)$", said, re.MULTILINE)):
            try:
                said += self.lines.get(timeout=max(0.01, until - time.monotonic()))
            except Empty:
                raise AssertionError(f"{commands}: no end after {PATIENCE_S} s\n{said}\n{self.log()}") from None
        assert found[1] == "0", f"{commands}\n{said}\n{self.log()}"
        return said

    def step(self, number: int) -> list[dict[str, Any]]:
        """Does this step of the page, and those before it; gives the answers of the service in it."""
        text = PAGE.read_text(encoding="utf-8")
        for each in STEP.finditer(text):
            if int(each[1]) <= number and int(each[1]) not in self.done:
                said = ""
                for language, tags, body in BLOCK.findall(each[2]):
                    if language == "csv":
                        (self.folder / tags).write_text(body)
                    elif language == "bash":
                        runs = sorted(self.folder.glob("runs/evaluate-*"))
                        body = re.sub(r"\bRUN\b", str(runs[-1].relative_to(self.folder)) if runs else "RUN", body)
                        said += self.type(body.replace("8000", str(self.port)))
                self.done[int(each[1])] = said
        return [json.loads(line) for line in self.done[number].splitlines() if line.startswith("{")]

    def get(self, path: str, key: str | None = None) -> Any:
        headers = {} if key is None else {"Authorization": f"Bearer {(self.folder / key).read_text().strip()}"}
        with urlopen(Request(f"http://127.0.0.1:{self.port}{path}", headers=headers), timeout=30) as answer:
            return json.loads(answer.read())

    def waits_for(self, version: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while self.get("/health/ready")["model_version"] != version:
            assert time.monotonic() < until, self.log()
            time.sleep(0.2)

    def log(self) -> str:
        file = self.folder / "serve.log"
        return file.read_text() if file.exists() else ""

    def leaves(self) -> None:
        assert self.shell.stdin is not None
        self.shell.stdin.write("kill %1 2>/dev/null; wait\nexit\n")
        self.shell.stdin.close()
        try:
            self.shell.wait(60)
        finally:
            if self.shell.poll() is None:
                os.killpg(self.shell.pid, 9)
            self.held.close()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    folder = tmp_path_factory.mktemp("stranger") / "shop"
    folder.mkdir()
    found = Stranger(folder)
    try:
        yield found
    finally:
        found.leaves()


def ids(answer: dict[str, Any]) -> list[str]:
    return [one["item_id"] for one in answer["items"]]


def test_a_run_from_two_files(stranger: Stranger) -> None:
    stranger.step(2)
    assert "run: runs/evaluate-textknn-" in stranger.done[2]
    assert "textknn" in stranger.done[2]


def test_it_is_served_with_keys(stranger: Stranger) -> None:
    ready, answer = stranger.step(3)
    assert ready["status"] == "ready"
    assert ids(answer)[0] == "b8"  # the one such book that cem has not read
    key = (stranger.folder / "shop.key").read_text().strip()
    assert key not in (stranger.folder / "keys.toml").read_text()
    assert key not in stranger.log()
    refused = stranger.type(
        f"curl -s -o /dev/null -w '%{{http_code}}' localhost:{stranger.port}/v1/items -d '{{}}'"
        " -H 'content-type: application/json'; echo"
    )
    assert "401" in refused


def test_an_item_by_its_text(stranger: Stranger) -> None:
    (answer,) = stranger.step(4)
    assert answer["added"] == ["b9"]
    assert stranger.get("/health/ready")["items"] == 9


def test_it_is_recommended_with_a_reason(stranger: Stranger) -> None:
    listed, by_text, why_not = stranger.step(5)
    (own,) = [one for one in listed["items"] if one["item_id"] == "b9"]
    assert {each["item_id"] for each in own["reason"]["support"]} <= {"b5", "b6", "b7"}
    assert "Rendezvous with Rama" in own["reason"]["sentence"]
    assert "b7" not in ids(listed)
    assert "b9" in ids(by_text)
    assert why_not["rank"] is None
    assert why_not["places"][0]["distance"] > 0


def test_a_like_changes_the_list(stranger: Stranger) -> None:
    before, sent, after = stranger.step(6)
    (note,) = sent.pop("notes")
    assert note.startswith("the value of 1 of 1 events is kept for later trainings, and no list reads it")
    assert sent == {"added": 1, "unknown_items": []}
    assert ids(before) != ids(after)
    assert "b9" not in ids(after)


def test_refresh_and_back(stranger: Stranger) -> None:
    stranger.step(6)
    first = stranger.get("/health/ready")["model_version"]
    answers = stranger.step(7)
    assert answers == []
    said = stranger.done[7]
    (new,) = re.findall(r"^version (\w+):", said, re.MULTILINE)
    assert new != first
    assert "promoted; run:" in said
    assert f"serves: {first}" in said
    stranger.waits_for(first)
    asked = f"http://127.0.0.1:{stranger.port}/v1/models/{new}/promote"
    key = (stranger.folder / "admin.key").read_text().strip()
    with urlopen(Request(asked, b"", {"Authorization": f"Bearer {key}"}), timeout=60) as answer:
        assert answer.status == 200
    stranger.waits_for(new)
    known = {model["version"]: model for model in stranger.get("/v1/models", "admin.key")["models"]}
    assert known[new]["serves"]
    assert not known[first]["serves"]
    assert set(known) == {first, new}
    again = stranger.type('ask recommend \'{"user_id": "ann", "k": 9}\'')
    answer = json.loads(next(line for line in again.splitlines() if line.startswith("{")))
    assert answer["model_version"] == new
    assert "b9" not in ids(answer)  # the event is in its training data, and counts once
