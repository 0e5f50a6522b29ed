"""HEAD is answered wherever GET is, with all that GET says before its body; other methods are refused in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
from live import served
from starlette.routing import Route

from interlingua.recommender import Recommender
from interlingua.runs.stages import run
from interlingua.serve.access import Access
from interlingua.serve.app import create_app
from interlingua.serve.keyring import KeyRing
from interlingua.serve.keys import make_key

ALIKE = ("content-type", "content-security-policy", "etag", "cache-control", "x-content-type-options")


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
    session = run("itemknn", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=options, device="cpu")
    return Recommender(session)


@pytest.fixture(scope="module")
def client(recommender: Recommender) -> Iterator[httpx.Client]:
    with served(recommender) as client:
        yield client


def paths(recommender: Recommender) -> list[str]:
    """Those of the application that take GET, whatever they are."""
    found = [each for each in every_route(create_app(recommender).routes) if "GET" in (each.methods or ())]
    return [each.path.replace("{name}", "main.js") for each in found]


def every_route(routes: object) -> Iterator[Route]:
    for each in routes:  # type: ignore[attr-defined]
        if isinstance(each, Route):
            yield each
        else:
            yield from every_route(getattr(each, "original_router", each).routes)


def test_head_wherever_get_is(recommender: Recommender, client: httpx.Client) -> None:
    found = paths(recommender)
    assert {"/", "/static/main.js", "/health/live", "/health/ready", "/metrics", "/docs", "/v1/titles"} <= set(found)
    for path in found:
        whole, head = client.get(path), client.head(path)  # on one connection: a body would be taken for an answer
        assert head.status_code == whole.status_code, path
        assert head.content == b"", path
        assert {name: head.headers.get(name) for name in ALIKE} == {name: whole.headers.get(name) for name in ALIKE}
        assert path in ("/metrics", "/v1/page/about", "/v1/titles") or (
            abs(int(head.headers["content-length"]) - len(whole.content)) < 50
        )
    assert client.head("/nowhere").status_code == 404
    assert client.head("/static/nothing.js").status_code == 404


def test_what_is_only_posted_has_no_head(client: httpx.Client) -> None:
    for method, path, there in [("HEAD", "/v1/recommend", "POST"), ("GET", "/v1/recommend", "POST")]:
        refused = client.request(method, path)
        assert (refused.status_code, refused.headers["allow"]) == (405, there)
    refused = client.post("/health/live")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert refused.json()["detail"] == "POST is not answered at this path; send GET or HEAD"


def test_head_needs_what_get_needs_and_is_counted_by_its_route(recommender: Recommender, tmp_path: Path) -> None:
    secret, key = make_key("page", "read")
    with served(recommender, access=Access(KeyRing([key]), require_key=True)) as client:
        assert client.head("/v1/titles").status_code == 401
        held = {"Authorization": f"Bearer {secret}"}
        assert client.head("/v1/titles", headers=held).status_code == 200
        text = client.get("/metrics", headers=held).text
        assert 'interlingua_requests_total{route="/v1/titles",status="401"} 1.0' in text
        assert 'interlingua_requests_total{route="/v1/titles",status="200"} 1.0' in text
        assert 'interlingua_requests_by_role_total{role="read"} 1.0' in text
