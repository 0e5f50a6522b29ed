"""No answer names a place of the server: its folders, its database. Whatever route, and whatever is wrong."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")
from fastapi.testclient import TestClient
from live import eventually

import interlingua
from interlingua.life.versions import enter
from interlingua.runs.stages import run
from interlingua.serve.app import create_app
from interlingua.serve.places import without_places
from interlingua.serve.promoted import served_model
from interlingua.serve.training import Training
from interlingua.store import Store


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cannot open /tmp/some/where/evaluate-x: no such file", "cannot open evaluate-x: no such file"),
        ("not in postgresql+psycopg://me:pw@db/shop; it has: y", "not in postgresql; it has: y"),
        ("the run is not at '/usr/lib/a b/c' any more", "the run is not at 'a b/c' any more"),
        ("item '/books/1'; ask /v1/titles, 3/4 or and/or", "item '/books/1'; ask /v1/titles, 3/4 or and/or"),
        (r"cannot open C:\runs\x", "cannot open x"),
        ("see ~/runs/evaluate-y.", "see evaluate-y."),
        ("https://shop.example/tmp/x", "https://shop.example/tmp/x"),
    ],
)  # fmt: skip
def test_of_a_path_its_name_is_left(text: str, said: str) -> None:
    assert without_places(text) == said


def test_folders_with_blanks_are_known_by_name() -> None:
    assert without_places("at /srv/my runs/evaluate-z; gone", ["/srv/my runs"]) == "at evaluate-z; gone"


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, list[str]]]:
    """A service of which much is wrong, and what nobody may read in its answers."""
    folder = tmp_path_factory.mktemp("a shop")
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
    runs = [run(n, out=folder / "runs", data="planted", overrides=options, device="cpu") for n in ("textknn", "pop")]
    with Store.open(folder / "shop.sqlite") as store:
        model = served_model(store, lambda path: interlingua.load(path, store=store), runs[0].path)
        gone = shutil.copytree(runs[1].path, folder / "runs" / "evaluate-gone")
        made = enter(store, gone)
        shutil.rmtree(gone)
        failing = f"import sys; sys.exit('error: no room in {folder}/runs for it')"
        training = Training([sys.executable, "-c", failing], "better", 2, store, lambda words: None)
        model.companions.append(training)
        model.training = training.state
        with TestClient(create_app(model), raise_server_exceptions=False) as client:
            eventually(lambda: training.ended)
            client.headers["x-gone"] = made.version
            yield client, [str(folder), folder.name, str(Path.home()), tempfile.gettempdir(), str(Path.cwd())]


def bodies(version: str) -> list[Any]:
    """For routes that take one: right for some of them, wrong for the others."""
    who = {"user_id": "u00003"}
    one = {"item_id": "n1", "title": "The Lost Nebula"}
    return [
        {}, who, {"history": []}, {"history": ["i00001"], "explain": 2}, {**who, "item_id": "i00004"},
        {"item_id": "i00004"}, {"item_ids": ["i00004"], **who}, {"items": [one]}, {"title": "x"}, {"version": version},
        {"version": "none"}, {"events": [{"user_id": "zoe", "item_id": "i00001", "time": "03/04/2026"}]},
        {"history": [], "filters": "nothing == 1"}, {"part": "u"}, {"items": ["i00004"], **who},
        {"history": [], "text": "a"}, {**who, "column": "nothing"}, {**who, "column": "served"}, [], "x",
    ]  # fmt: skip


def test_no_route_names_a_place(troubled: tuple[TestClient, list[str]]) -> None:
    client, secrets = troubled
    version = client.headers["x-gone"]
    operations = [
        (verb.upper(), path) for path, verbs in client.get("/openapi.json").json()["paths"].items() for verb in verbs
    ]
    assert ("POST", "/v1/models/{version}/promote") in operations
    statuses = set()
    for verb, path in [*operations, ("GET", "/"), ("GET", "/docs"), ("GET", "/nowhere")]:
        for inserted in (version, "none", "i00001"):
            url = path.replace("{version}", inserted).replace("{item_id}", inserted)
            for body in bodies(version) if verb in ("POST", "PUT") else [None]:
                answer = client.request(verb, url, **({} if body is None else {"json": body}))
                statuses.add(answer.status_code)
                text = answer.text + json.dumps(dict(answer.headers))
                assert not [each for each in secrets if each in text], f"{verb} {url} {body}: {text}"
    assert {200, 404, 422} <= statuses
    assert not {each for each in statuses if each >= 500}


def test_a_training_that_failed_says_why_without_folders(troubled: tuple[TestClient, list[str]]) -> None:
    client, _ = troubled
    words = client.get("/v1/page/about").json()["training"]["words"]
    assert words == "better could not be trained: error: no room in runs for it"
    refused = client.post(f"/v1/models/{client.headers['x-gone']}/promote")
    assert refused.status_code == 422
    assert "is not at evaluate-gone any more" in refused.json()["detail"]
