"""Several processes behind one address: what one is told the others know, one that dies is started again."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("sqlalchemy")
if not hasattr(os, "fork") or not Path("/proc/self/task").is_dir():
    pytest.skip("needs fork, and /proc to look at processes", allow_module_level=True)

from interlingua.cli.main import app
from interlingua.errors import ConfigError
from interlingua.runs.stages import run
from interlingua.serve.workers import Workers


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not within the time"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_several_workers_need_a_store() -> None:
    found = CliRunner().invoke(app, ["serve", "nowhere", "--workers", "2"])
    assert isinstance(found.exception, ConfigError)
    assert "--workers 2 needs --store" in str(found.exception)


def test_workers_share_changes_are_replaced_and_end_together(tmp_path: Path) -> None:
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
    session = run("textknn", out=tmp_path / "runs", data="planted", overrides=options, device="cpu")
    command = [sys.executable, "-m", "interlingua.cli.main", "serve", str(session.path), "--port", "0"]
    command += ["--store", str(tmp_path / "s.sqlite"), "--workers", "2"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:

        def address() -> re.Match[str] | None:
            assert process.poll() is None, (tmp_path / "log").read_text()
            return re.search(r"2 workers on (http://127\.0\.0\.1:\d+)\n", (tmp_path / "log").read_text())

        eventually(lambda: address() is not None)
        found = address()
        assert found is not None
        url = found[1]

        def ready() -> int:
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                answer = httpx.get(f"{url}/health/ready", timeout=30)
            except httpx.TransportError:
                return 0
            return int(answer.json()["workers"]) if answer.status_code == 200 else 0

        eventually(lambda: ready() == 2)
        first = children(process.pid)
        assert len(first) == 2

        # each question on a connection of its own, so that some are taken by either
        items = [str(item) for item in session.data.split.train.item_ids[:12]]
        for count, item in enumerate(items, 1):
            sent = httpx.post(f"{url}/v1/events", json={"events": [{"user_id": "zoe", "item_id": item}]}, timeout=30)
            assert sent.json()["added"] == 1
            answer = httpx.post(f"{url}/v1/recommend", json={"user_id": "zoe", "k": 1000}, timeout=30).json()
            assert not {one["item_id"] for one in answer["items"]} & set(items[:count])
        new = {"item_id": "n1", "title": "The Lost Nebula", "categories": "Space"}
        assert httpx.post(f"{url}/v1/items", json={"items": [new]}, timeout=30).json()["added"] == ["n1"]
        sizes: list[int] = []

        def everywhere() -> bool:
            sizes.append(httpx.get(f"{url}/health/ready", timeout=30).json()["items"])
            return (
                len(sizes) >= 12 and len(set(sizes[-12:])) == 1 and sizes[-1] == session.data.split.train.num_items + 1
            )

        eventually(everywhere)

        def counted() -> int:
            lines = httpx.get(f"{url}/metrics", timeout=30).text.splitlines()
            own = [x for x in lines if x.startswith('interlingua_requests_total{route="/v1/recommend",status="200"}')]
            return int(float(own[0].split()[-1])) if own else 0

        assert {counted() for _ in range(6)} == {12}  # whoever answers
        assert 'interlingua_info{model_version="' in httpx.get(f"{url}/metrics", timeout=30).text

        os.kill(first[0], signal.SIGKILL)
        eventually(lambda: len(children(process.pid)) == 2 and first[0] not in children(process.pid) and ready() == 2)
        assert counted() == 12
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not any(Path(f"/proc/{child}").exists() for child in first)
    finally:
        process.kill()
        process.wait()


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    program = (
        "import os, sys, time\n"
        "from interlingua.serve.workers import Workers\n"
        "def serve(worker):\n"
        "    worker.board.set(worker.number, True)\n"
        "    open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\n"
        "    while not worker.orphaned: time.sleep(0.05)\n"
        "Workers(2, serve, '127.0.0.1', 0, 1.0).run()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "pids")], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: len(children(process.pid)) == 2 and len((tmp_path / "pids").read_text().split()) == 2)
        pids = (tmp_path / "pids").read_text().split()
    finally:
        process.kill()
        process.wait()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_workers_that_cannot_live_end_the_service(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from interlingua.serve.workers import Workers\n"
        "def serve(worker):\n"
        "    raise ValueError('no model here')\n"
        "sys.exit(Workers(2, serve, '127.0.0.1', 0, 1.0).run())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "no model here" in ended.stderr
    assert "giving up" in ended.stderr


def test_a_child_that_is_no_worker_may_end() -> None:
    program = (
        "import os, signal, sys, time\n"
        "from interlingua.serve.workers import Workers\n"
        "stranger = os.fork() or os._exit(3)\n"
        "os.waitid(os.P_PID, stranger, os.WEXITED | os.WNOWAIT)\n"
        "def serve(worker):\n"
        "    while not worker.orphaned and os.path.exists(f'/proc/{stranger}'): time.sleep(0.01)\n"
        "    if not worker.orphaned: os.kill(worker.parent, signal.SIGTERM)\n"
        "    while not worker.orphaned: time.sleep(0.01)\n"
        "sys.exit(Workers(2, serve, '127.0.0.1', 0, 60.0).run())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


def test_a_signal_while_workers_start_reaches_all() -> None:
    program = (
        "import os, signal, sys, time\n"
        "from interlingua.serve.workers import Workers\n"
        "parent, started, fork = os.getpid(), [], os.fork\n"
        "def signalled():\n"
        "    started.append(len(started))\n"
        "    if len(started) == 2: os.kill(parent, signal.SIGTERM)\n"
        "    return fork()\n"
        "os.fork = signalled\n"
        "def serve(worker):\n"
        "    worker.board.set(worker.number, True)\n"
        "    while not worker.orphaned: time.sleep(0.01)\n"
        "status = Workers(3, serve, '127.0.0.1', 0, 60.0).run()\n"
        "print(status, len(started))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert ended.stdout.split() == ["0", "2"], ended.stderr


def test_each_family_of_metrics_is_shown_once() -> None:
    program = (
        "from interlingua.serve.workers import summed_counts\n"
        "with summed_counts():\n"
        "    from interlingua.serve.counts import Counts\n"
        "    counts = Counts('v1')\n"
        "    counts.queue(lambda: 3.0)\n"
        "    counts.add('/x', 200, 0.1)\n"
        "    print(counts.text().decode())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    lines = ended.stdout.splitlines()
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert sorted(families) == sorted(set(families))
    assert [line for line in lines if line.startswith("interlingua_queue_length")] == ["interlingua_queue_length 3.0"]
    assert 'interlingua_requests_total{route="/x",status="200"} 1.0' in lines


def test_two_services_do_not_share_a_port() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as the workers of a service do
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}: Address already in use"):
            Workers(2, lambda worker: None, "127.0.0.1", port, 1.0)


def test_workers_that_are_never_ready_end_the_service_however_long_they_load() -> None:
    program = (
        "import sys\n"
        "from interlingua.serve import workers\n"
        "workers.QUICKLY_S = 0.0  # each lives longer\n"
        "def serve(worker):\n"
        "    worker.board.set(worker.number, False)\n"
        "    raise ValueError('no model here')\n"
        "sys.exit(workers.Workers(2, serve, '127.0.0.1', 0, 1.0).run())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    assert "giving up" in ended.stderr


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers have one socket")
def test_two_services_that_are_both_loading_do_not_share_a_port() -> None:
    port = free_port()
    loading = Workers(2, lambda worker: None, "127.0.0.1", port, 1.0)  # it has the address, and listens nowhere yet
    try:
        for host in ("127.0.0.1", "0.0.0.0"):
            with pytest.raises(ConfigError, match=f"port {port}: Address already in use; end what is there, or name"):
                Workers(2, lambda worker: None, host, port, 1.0)
        own = [loading._bound("127.0.0.1", port) for _ in range(2)]  # as its workers do
        for each in own:
            each.listen()
        with socket.create_connection(("127.0.0.1", port)):
            pass
        for each in own:
            each.close()
    finally:
        loading._held.close()
    Workers(2, lambda worker: None, "127.0.0.1", port, 1.0)._held.close()  # at once after the first has gone


def test_a_rate_holds_over_all_workers(tmp_path: Path) -> None:
    """Each request on a new connection, so that both workers are asked: together they answer as often as one may."""
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
    session = run("itemknn", out=tmp_path / "runs", data="planted", overrides=options, device="cpu")
    port = free_port()
    command = [sys.executable, "-m", "interlingua.cli.main", "serve", str(session.path), "--port", str(port)]
    command += ["--store", str(tmp_path / "s.sqlite"), "--workers", "2", "--rate", "20/h"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:

        def ready() -> bool:
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                return bool(httpx.get(f"{url}/health/ready", timeout=30).json()["workers"] == 2)
            except (httpx.TransportError, KeyError):
                return False

        eventually(ready)
        codes = [httpx.post(f"{url}/v1/recommend", json={"history": []}, timeout=30).status_code for _ in range(40)]
        assert codes == [200] * 20 + [429] * 20
    finally:
        process.terminate()
        process.wait(30)
