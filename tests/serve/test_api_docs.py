"""`/docs` works where nothing else can be reached, and says what the schema says."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

import interlingua
from interlingua.runs.stages import run
from interlingua.serve.api_docs import rendered, type_of
from interlingua.serve.app import create_app

ELSEWHERE = re.compile(r"(?:https?:)?//[\w.-]+|@import|url\(", re.IGNORECASE)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory):
    options = ("data.options={num_users = 40, num_items = 30}", 'evaluate.protocols=["full"]')
    made = run("itemknn", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=options, device="cpu")
    with TestClient(create_app(interlingua.load(made))) as client:
        yield client


def test_the_page_loads_nothing_from_elsewhere_and_no_script(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert not ELSEWHERE.findall(page.text)
    assert "<script" not in page.text
    assert " style=" not in page.text  # the policy lets none in
    loaded = re.findall(r'<link[^>]+href="([^"]+)"', page.text)
    assert loaded == ["/docs/style.css"]
    style = client.get(loaded[0])
    assert style.headers["content-type"].startswith("text/css")
    assert not ELSEWHERE.findall(style.text)
    assert client.get("/redoc").status_code == 404
    for line in ('<script src="https://cdn.example/x.js">', "@import 'x'", "background: url(x)", "//cdn.example/x"):
        assert ELSEWHERE.search(line)


def test_the_page_has_every_route_and_every_field(client: TestClient) -> None:
    page, schema = client.get("/docs").text, client.get("/openapi.json").json()
    for path, verbs in schema["paths"].items():
        for verb in verbs:
            assert f'<section id="{verb.upper()}{path}">' in page
    for name, each in schema["components"]["schemas"].items():
        assert f'<section id="{name}">' in page
        for field in each.get("properties", ()):
            assert f"<code>{field}</code>" in page
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets <= set(re.findall(r'id="([^"]+)"', page))
    assert "<small>role write</small>" in page


def test_what_a_schema_says_is_no_markup() -> None:
    route = {"description": "<script>x</script>", "responses": {"200": {}}}
    page = rendered({"info": {"title": "<b>", "version": "1"}, "paths": {"/a": {"get": route}}})
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "string", "minLength": 1, "maxLength": 5}, "text (1 to 5)"),
        ({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}, "integer (from 1) or null"),
        ({"type": "array", "maxItems": 3, "items": {"$ref": "#/components/schemas/Item"}}, "list of Item (at most 3)"),
        ({"enum": ["a", "b"], "type": "string"}, "'a' | 'b'"),
        ({}, "anything"),
    ],
)
def test_types_in_words(schema: dict, said: str) -> None:
    assert type_of(schema) == said
