"""A real browser on a real service. Skips with the reason where there is no Chromium or no Playwright."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

import interlingua
from interlingua.runs.session import Session
from interlingua.runs.stages import run

NAMES = ("chromium", "chromium-browser", "google-chrome")
WAIT_MS = 30_000
"""for anything: two pytest processes and a browser may share one core"""


class Service:
    """A running service, with the recommender behind it."""

    def __init__(self, recommender: interlingua.Recommender, address: str) -> None:
        self.recommender, self.address = recommender, address


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    options = (
        "data.options={num_users = 80, num_items = 60}", 'evaluate.protocols=["full"]',
        'fuse={name = "sum", members = ["pop", "itemknn", "textknn"]}',
    )  # fmt: skip
    return run("all-round", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=options, device="cpu")


@pytest.fixture
def serving(session: Session) -> Iterator[Callable[..., Service]]:
    """Starts services: ``serving(access, training, model)``."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    from interlingua.serve.app import create_app
    from interlingua.serve.limits import ServeLimits
    from interlingua.serve.model import ServedModel
    from interlingua.serve.queue import WorkQueue
    from interlingua.serve.server import server_of

    stops: list[Callable[[], None]] = []

    def start(access: Any = None, training: Callable[[], dict[str, Any]] | None = None, model: Any = None) -> Service:
        limits, model = ServeLimits(), model or ServedModel(interlingua.load(session))
        line = WorkQueue(limits.queue, limits.deadline_s)
        model.training = training
        app = create_app(model, limits, line, access)
        server = server_of(app, line, limits, "127.0.0.1", 0, log_level="warning")
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()

        def stop() -> None:
            server.should_exit = True
            thread.join(20)

        stops.append(stop)
        until = time.monotonic() + 60
        while not server.started and time.monotonic() < until:
            time.sleep(0.02)
        return Service(model.now, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/")

    yield start
    for stop in stops:
        stop()


@pytest.fixture
def service(serving: Callable[..., Service]) -> Service:
    return serving()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed (Debian: apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens the page of a service; at the end nothing was written on the console, and nobody else was asked."""
    contexts, wrong = [], list[str]()

    def open_page(service: Service, *, path: str = "", **options: Any) -> Any:
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("console", lambda message: wrong.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        host = urlsplit(service.address).netloc
        page.on("request", lambda sent: urlsplit(sent.url).netloc == host or wrong.append(f"asked {sent.url}"))
        page.goto(service.address + path)
        page.wrong = wrong
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong
