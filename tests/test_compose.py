"""compose.yaml by the schema of the Compose specification, and its service run without docker: with its own command and
environment alone, beside a real Postgres with a password. What the network of containers would do is said by two
variables of libpq (PGHOSTADDR, PGPORT); ``/data`` is a folder, and the port a free one.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.store.postgres import FAST, _run, _user, programs

ROOT = Path(__file__).parents[1]
FILE = ROOT / "compose.yaml"
PASSWORD = secrets.token_urlsafe()
DOT_ENV = {"POSTGRES_PASSWORD": PASSWORD, "ALLOW_HOST": "shop.example"}


@pytest.mark.skipif(find_spec("check_jsonschema") is None, reason="needs check-jsonschema")
def test_the_file_has_the_form_of_the_specification(tmp_path: Path) -> None:
    def checked(file: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    ended = checked(FILE)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    text = FILE.read_text(encoding="utf-8")
    for right, wrong in (("read_only: true", "readonly: true"), ("condition: service_healthy", "condition: healthy")):
        (tmp_path / "compose.yaml").write_text(text.replace(right, wrong))
        assert checked(tmp_path / "compose.yaml").returncode == 1, wrong


def interpolated(text: str) -> str:
    """As docker compose reads it, with :data:`DOT_ENV` in ``.env``."""
    text = re.sub(r"\$\{(\w+):-(.*?)\}", lambda found: DOT_ENV.get(found[1]) or found[2], text)
    return re.sub(r"\$\{(\w+):\?.*?\}", lambda found: DOT_ENV[found[1]], text)


@pytest.fixture
def database() -> Iterator[int]:
    """A Postgres as the image makes it of its environment: its user, database and password. Gives the port."""
    psycopg = pytest.importorskip("psycopg")
    bin = programs()
    if bin is None:
        pytest.skip("Postgres is not installed (initdb, pg_ctl)")
    given = yaml.safe_load(interpolated(FILE.read_text(encoding="utf-8")))["services"]["postgres"]["environment"]
    with tempfile.TemporaryDirectory(prefix="il-pg-", ignore_cleanup_errors=True) as name:
        folder, port, user = Path(name), free_port(), given["POSTGRES_USER"]
        as_user, data = _user(folder), folder / "data"
        (folder / "password").write_text(given["POSTGRES_PASSWORD"])
        secured = ["-U", user, "-A", "scram-sha-256", f"--pwfile={folder / 'password'}"]
        _run([*as_user, bin / "initdb", "-D", data, "-N", "--no-instructions", *secured])
        options = f"-k {folder} -p {port} -c listen_addresses=127.0.0.1 {FAST}"
        _run([*as_user, bin / "pg_ctl", "-D", data, "-w", "-t", "60", "-l", folder / "log", "-o", options, "start"])
        try:
            where = {"host": "127.0.0.1", "port": port, "user": user, "password": given["POSTGRES_PASSWORD"]}
            with psycopg.connect(dbname="postgres", autocommit=True, **where) as connection:
                connection.execute(f"CREATE DATABASE {given['POSTGRES_DB']}")
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(dbname=given["POSTGRES_DB"], **{**where, "password": "another"})
            yield port
        finally:
            _run([*as_user, bin / "pg_ctl", "-D", data, "-m", "immediate", "stop"])


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


class Container:
    """Commands as they run in the service's container."""

    def __init__(self, folder: Path, database: int) -> None:
        self.folder, self.port = folder, free_port()
        service = yaml.safe_load(interpolated(FILE.read_text(encoding="utf-8")))["services"]["service"]
        self.command = [
            word.replace("/data", str(folder)).replace("8000", str(self.port)) for word in service["command"]
        ]
        paths = os.pathsep.join(str(Path(each).resolve()) for each in sys.path if each)
        machine = {"PATH": os.environ["PATH"], "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "HOME": str(folder)}
        network = {"PGHOSTADDR": "127.0.0.1", "PGPORT": str(database)}
        self.environment = {**machine, **network, **service["environment"]}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "interlingua", *arguments], cwd=self.folder, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *arguments: str) -> str:
        process = self.start(*arguments)
        said, problem = process.communicate(timeout=300)
        assert process.returncode == 0, f"{arguments}: {said}{problem}"
        return said

    def ask(self, key: str, path: str, body: Any = None, host: str = "shop.example") -> tuple[int, Any]:
        import httpx

        headers = {"Host": host} | ({"Authorization": f"Bearer {key}"} if key else {})
        method = "GET" if body is None else "POST"
        answer = httpx.request(method, f"http://127.0.0.1:{self.port}{path}", json=body, headers=headers, timeout=60)
        return answer.status_code, answer.json()


@pytest.mark.slow
def test_its_service_runs_beside_its_database(database: int, tmp_path: Path) -> None:
    """The commands of docs/serving.md, "In containers"."""
    pytest.importorskip("fastapi")
    pytest.importorskip("sqlalchemy")
    folder = tmp_path / "data"
    folder.mkdir()
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    for name, body in re.findall(r"^```csv (\w+\.csv)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        (folder / name).write_text(body)
    box = Container(folder, database)
    key = box.run("keys", "new", "--role", "write", "--name", "shop", "--file", f"{folder}/keys.toml").strip()
    filters = ("--set", "data.filter.min_user=1", "--set", "data.filter.min_item=1")
    box.run("run", "textknn", "--data", "events.csv", "--set", "data.options.items=items.csv", *filters)
    (made,) = (folder / "runs").glob("evaluate-*")
    box.run("promote", str(made), "--store", "postgresql://interlingua@postgres/interlingua")
    event = {"user_id": "zoe", "item_id": "b6"}
    for start in (1, 2):  # what it was told stays over a restart, in the database
        process = box.start(*box.command)
        try:
            ready(box, process)
            assert box.ask(key, "/v1/recommend", {"history": ["b1"], "k": 2})[0] == 200
            assert box.ask("", "/v1/events", {"events": [event]})[0] == 401
            assert box.ask(key, "/v1/recommend", {"history": []}, host="other.example")[0] == 421
            sent = box.ask(key, "/v1/events", {"events": [event], "idempotency_key": "order 17"})
            assert sent == (200, {"added": 2 - start, "unknown_items": []})
            listed = box.ask(key, "/v1/recommend", {"user_id": "zoe", "k": 8})[1]["items"]
            assert "b6" not in [one["item_id"] for one in listed]
        finally:
            process.terminate()
            _, problem = process.communicate(timeout=60)
        assert all(json.loads(line)["event"] for line in problem.splitlines())  # --log=json
        assert PASSWORD not in problem


def ready(box: Container, process: subprocess.Popen[str]) -> None:
    import httpx

    end = time.monotonic() + 180
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()[1]
        try:
            if box.ask("", "/health/ready")[0] == 200:
                return
        except (httpx.ConnectError, httpx.TimeoutException):
            pass
        time.sleep(0.1)
    process.terminate()
    raise AssertionError(f"it was not ready in time: {process.communicate(timeout=60)}")
