"""The service on a real server and real sockets: crowds, clients that go, bodies without end, slow sockets, SIGTERM."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from slow_recommender import SlowRecommender

from interlingua.runs.stages import run
from interlingua.serve.app import create_app
from interlingua.serve.limits import ServeLimits
from interlingua.serve.queue import WorkQueue
from interlingua.serve.server import server_of

LINE = b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
    session = run("itemknn", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=options, device="cpu")
    return session.done["evaluate"].path


@pytest.fixture(scope="module")
def recommender(folder: Path) -> SlowRecommender:
    return SlowRecommender.load(folder)


class Served:
    """A running server and ways to ask it."""

    def __init__(self, port: int, queue: WorkQueue) -> None:
        self.port, self.queue = port, queue

    def ask(self, body: dict[str, Any] | None = None, path: str = "/v1/recommend") -> tuple[int, dict[str, str], Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            data = None if body is None else json.dumps(body)
            connection.request("GET" if body is None else "POST", path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, dict(answer.headers), json.loads(text) if path != "/metrics" else text.decode()
        finally:
            connection.close()

    def socket(self, data: bytes = b"") -> socket.socket:
        out = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        out.sendall(data)
        return out

    def recommend(self, explain: int = 0) -> socket.socket:
        """A request that nobody has read the answer of."""
        body = json.dumps({"history": [], "explain": explain}).encode()
        return self.socket(LINE + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def alive(self) -> float:
        """Seconds that a health check takes."""
        started = time.perf_counter()
        assert self.ask(path="/health/live")[0] == 200
        return time.perf_counter() - started


@contextmanager
def served(recommender: SlowRecommender, **limits: Any) -> Iterator[Served]:
    bounds = ServeLimits(**limits)
    queue = WorkQueue(bounds.queue, bounds.deadline_s)
    server = server_of(create_app(recommender, bounds, queue), queue, bounds, "127.0.0.1", 0, log_level="error")
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started, 30)
        yield Served(server.servers[0].sockets[0].getsockname()[1], queue)
    finally:
        server.should_exit = True
        thread.join(15)
    assert not thread.is_alive()


def eventually(condition: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not within the time"
        time.sleep(0.01)


def closed(connection: socket.socket, seconds: float = 5.0) -> bytes:
    """What comes until the server closes."""
    connection.settimeout(seconds)
    got = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            got += part
    return got


def test_a_crowd_is_answered_in_time_and_health_at_once(recommender: SlowRecommender) -> None:
    """64 clients want three reasons each; a reason takes a tenth of a second."""
    with served(recommender, queue=8, deadline_s=2.0) as service, ThreadPoolExecutor(64) as pool:
        started = time.monotonic()
        answers = [pool.submit(service.ask, {"history": [], "explain": 3}) for _ in range(64)]
        checks = []
        while not all(answer.done() for answer in answers):
            checks.append(service.alive())
            time.sleep(0.02)
        assert time.monotonic() - started < 8
        found = Counter(answer.result()[0] for answer in answers)
        assert set(found) <= {200, 429, 503}
        assert found[200] >= 1
        assert found[429] >= 40
        for status, headers, body in (answer.result() for answer in answers):
            assert status == 200 or (1 <= int(headers["retry-after"]) <= 2 and body["detail"])
        assert sorted(checks)[len(checks) // 2] < 0.25  # an answer takes 0.3
        assert service.ask({"history": []})[0] == 200
        counted = service.ask(path="/metrics")[2]
        assert f'route="/v1/recommend",status="429"}} {found[429]}' in counted


def test_a_request_is_given_up_at_its_deadline(recommender: SlowRecommender) -> None:
    with served(recommender, deadline_s=0.5) as service:
        started, before = time.monotonic(), recommender.steps
        status, headers, body = service.ask({"history": [], "explain": 20})
        assert status == 503
        assert "0.5 s" in body["detail"]
        assert int(headers["retry-after"]) >= 1
        assert 0.5 <= time.monotonic() - started < 5
        eventually(lambda: service.queue.idle)
        assert recommender.steps - before < 60  # of 200


def test_nothing_is_computed_for_clients_that_have_gone(recommender: SlowRecommender) -> None:
    with served(recommender, queue=20, deadline_s=30.0) as service:
        before = recommender.steps
        sockets = [service.recommend(20) for _ in range(12)]  # 2 s each
        eventually(lambda: service.queue.waiting == 11)
        for connection in sockets:
            connection.close()
        eventually(lambda: service.queue.idle)
        assert recommender.steps - before < 100
        assert service.ask({"history": []})[0] == 200
        eventually(lambda: 'route="/v1/recommend",status="499"} 12' in service.ask(path="/metrics")[2])


def test_bodies_are_bounded_announced_or_not(recommender: SlowRecommender) -> None:
    with served(recommender, max_body=1 << 16) as service:
        announced = service.socket(LINE + b"Content-Length: 400000000\r\n\r\n{")
        assert closed(announced).startswith(b"HTTP/1.1 413")
        endless, sent = service.socket(LINE + b"Transfer-Encoding: chunked\r\n\r\n"), 0
        with suppress(ConnectionError, TimeoutError):
            while sent < 256 << 20:
                endless.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
                sent += 65536
        assert sent < 128 << 20
        status, _, body = service.ask({"history": ["x" * 400] * 200})
        assert status == 413
        assert "65,536" in body["detail"]
        assert service.ask({"history": ["x" * 400] * 100})[0] == 200
        assert min(service.alive() for _ in range(3)) < 1


def test_an_answer_comes_even_to_who_sends_it_all_first(recommender: SlowRecommender) -> None:
    with served(recommender, max_body=1000) as service:
        big = service.socket(LINE + b"Content-Length: 3000000\r\n\r\n")
        big.sendall(b" " * 3_000_000)
        assert closed(big).startswith(b"HTTP/1.1 413")


def test_a_body_below_the_limit_is_read_however_it_comes(recommender: SlowRecommender) -> None:
    body = json.dumps({"history": ["x" * 400] * 1500}).encode()  # much more than the headers may have
    head = LINE + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    with served(recommender) as service:
        for first in (1, 1000, 200_000, 400_000, 500_000):
            connection = service.socket(head + body[:first])
            time.sleep(0.05)  # so that the rest comes by itself
            connection.sendall(body[first:])
            assert closed(connection, 20).startswith(b"HTTP/1.1 200"), first


def test_slow_sockets_are_closed_and_others_served(recommender: SlowRecommender) -> None:
    with served(recommender, head_s=1.0, body_s=1.0, idle_s=1.0) as service:
        silent = [service.socket() for _ in range(20)]
        heads = [service.socket(b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nX-") for _ in range(20)]
        again = service.socket(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert again.recv(15).startswith(b"HTTP/1.1 200")
        again.sendall(b"GET /hea")  # a second request that does not go on
        bodies = [service.socket(LINE + b"Content-Length: 100\r\n\r\n{") for _ in range(5)]
        end = time.monotonic() + 4
        dripping = service.socket(LINE)
        with suppress(ConnectionError):
            while time.monotonic() < end:
                dripping.sendall(b"X: y\r\n")
                time.sleep(0.1)
        assert time.monotonic() < end
        assert all(closed(connection) == b"" for connection in [*silent, *heads])
        assert b"HTTP" not in closed(again)[200:]
        assert all(closed(connection).startswith(b"HTTP/1.1 408") for connection in bodies)
        assert min(service.alive() for _ in range(3)) < 1


def test_who_does_not_read_is_closed(recommender: SlowRecommender) -> None:
    with served(recommender, idle_s=1.0) as service:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", service.port))
        one = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.settimeout(5)
        ended = False
        for _ in range(400):  # answers pile up until the buffers are full
            try:
                connection.sendall(one * 20)
            except (ConnectionError, TimeoutError):
                ended = True
                break
            time.sleep(0.01)
        assert ended
        assert min(service.alive() for _ in range(3)) < 1


def test_where_too_many_connections_are_open_the_idle_ones_go(recommender: SlowRecommender) -> None:
    with served(recommender, connections=8, idle_s=30.0) as service:
        working = service.recommend(5)
        eventually(lambda: not service.queue.idle)
        idle = [service.socket() for _ in range(40)]
        # They make room: nobody waits until their 30 s are over. (The kernel tries again after a second or three where
        # 41 connections at once are more than its queue of 32 takes.)
        assert service.alive() < 15
        working.settimeout(10)
        assert working.recv(15).startswith(b"HTTP/1.1 200")
        assert sum(bool(_open(connection)) for connection in idle) <= 8


def _open(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True
    except ConnectionError:
        return False


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[2])
from slow_recommender import SlowRecommender
from interlingua.serve import server
from interlingua.serve.app import create_app
from interlingua.serve.limits import ServeLimits
from interlingua.serve.queue import WorkQueue
limits = ServeLimits(drain_s=1.0, queue=20, deadline_s=100.0)
line = WorkQueue(limits.queue, limits.deadline_s)
server.run(create_app(SlowRecommender.load(sys.argv[1]), limits, line), line, limits, "127.0.0.1", int(sys.argv[3]))
"""


def test_sigterm_under_load_ends_within_the_stated_time(folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", PROGRAM, str(folder), str(Path(__file__).parent), str(port)]
    process = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.PIPE)
    try:
        service = Served(port, WorkQueue(0, 1.0))

        def started() -> bool:
            assert process.poll() is None, process.communicate()[1].decode()
            with suppress(ConnectionError):
                return service.ask(path="/health/ready")[0] == 200
            return False

        eventually(started, 60)
        with ThreadPoolExecutor(10) as pool:
            short = pool.submit(service.ask, {"history": [], "explain": 4})  # in work, and done within the drain
            time.sleep(0.1)
            waiting = [pool.submit(service.ask, {"history": [], "explain": 20}) for _ in range(8)]
            eventually(lambda: service.ask(path="/health/ready")[2]["waiting"] == 8)
            process.send_signal(signal.SIGTERM)
            asked = time.monotonic()
            process.wait(15)
            assert time.monotonic() - asked < 1.0 + 4
            assert short.result()[0] == 200
            assert {answer.result()[0] for answer in waiting} == {503}
    finally:
        process.kill()
        process.communicate()
