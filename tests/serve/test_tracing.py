"""Spans: one for each request, a child of its caller's, without ids; sent to a collector over HTTP."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("opentelemetry.sdk")
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from interlingua.recommender import Recommender
from interlingua.runs.stages import run
from interlingua.serve.access import Access
from interlingua.serve.app import create_app
from interlingua.serve.keyring import KeyRing
from interlingua.serve.keys import make_key
from interlingua.serve.tracing import provider_of

SECRET, KEY = make_key("shop", "write")
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    options = ("data.options={num_users = 40, num_items = 30}", 'evaluate.protocols=["full"]')
    session = run("itemknn", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=options, device="cpu")
    return Recommender.load(session.done["evaluate"].path)


def test_a_span_has_what_the_log_has_and_belongs_to_its_caller(recommender: Recommender) -> None:
    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    headers = {"Authorization": f"Bearer {SECRET}", "traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "r1"}
    app = create_app(recommender, access=Access(KeyRing([KEY])), tracing=provider)
    with TestClient(app) as client:
        client.post("/v1/recommend?q=SECRETQ", json={"user_id": "SECRETU", "k": 1}, headers=headers)
        client.put("/v1/items/SECRETI", json={"title": "SECRETT"}, headers=headers)
        client.get("/SECRETP")
    first, second, third = memory.get_finished_spans()
    assert first.name == "POST /v1/recommend"
    assert dict(first.attributes or {}) == {
        "http.request.method": "POST", "http.route": "/v1/recommend", "http.response.status_code": 404,
        "interlingua.request_id": "r1", "interlingua.key": "shop",
    }  # fmt: skip
    assert f"{first.context.trace_id:032x}" == TRACE
    assert first.parent is not None
    assert f"{first.parent.span_id:016x}" == PARENT
    assert second.name == "PUT /v1/items/{item_id:rest}"
    assert (third.name, third.parent) == ("GET unknown", None)
    assert "SECRET" not in "".join(span.to_json() for span in memory.get_finished_spans())
    assert SECRET not in "".join(span.to_json() for span in memory.get_finished_spans())


def test_what_breaks_is_a_failed_span_by_its_type(recommender: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    app = create_app(recommender, tracing=provider)

    def breaks(*_: Any, **__: Any) -> None:
        raise KeyError("SECRETU")

    with TestClient(app) as client:
        monkeypatch.setattr(Recommender, "answer", breaks)
        monkeypatch.setattr(Recommender, "answers", breaks)
        assert client.post("/v1/recommend", json={"history": []}).status_code == 500
    (span,) = memory.get_finished_spans()
    assert (span.status.status_code.name, span.attributes["error.type"]) == ("ERROR", "KeyError")
    assert "SECRET" not in span.to_json()


def test_spans_reach_a_collector_before_the_service_ends(recommender: Recommender) -> None:
    got: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        provider = provider_of(f"http://127.0.0.1:{server.server_port}/")
        assert provider is not None
        with TestClient(create_app(recommender, tracing=provider)) as client:
            client.get("/health/live")
        (sent,) = got
        assert sent[0] == "/v1/traces"
        assert b"GET /health/live" in sent[1]
        assert b"interlingua" in sent[1]
        provider.shutdown()
    finally:
        server.shutdown()
        server.server_close()
    assert provider_of(None) is provider_of("") is None
