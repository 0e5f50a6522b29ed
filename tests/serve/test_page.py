"""The page's files and routes over HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import scipy.sparse.linalg

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

import interlingua
from interlingua.runs.session import Session
from interlingua.runs.stages import run
from interlingua.serve.app import create_app
from interlingua.serve.page_schema import ItemRequest, ListRequest, UsersRequest, WhyRequest
from interlingua.serve.page_views import PageViews

WORLD = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
SPACE = {"item_id": "n1", "title": "The Lost Galaxy", "categories": ["Space", "Nebula"], "description": "orbit rocket"}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return run("textknn", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=WORLD, device="cpu")


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Session:
    members = 'fuse={name = "sum", members = ["pop", "itemknn", "textknn"]}'
    return run("all-round", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=(*WORLD, members))


@pytest.fixture
def client(session: Session) -> Iterator[TestClient]:
    with TestClient(create_app(interlingua.load(session))) as client:
        yield client


def asked(client: TestClient, path: str, body: dict[str, Any] | None = None, status: int = 200) -> Any:
    answer = client.get(path) if body is None else client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_the_page_loads_nothing_from_elsewhere_and_runs_no_inline_script(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert page.headers["x-content-type-options"] == "nosniff"
    for tag in re.findall(r"<(?:script|link|img)[^>]*>", page.text):
        assert re.search(r'(?:src|href)="/static/', tag), tag
    assert not re.search(r"\son\w+=|style=|<script>", page.text)
    for name in re.findall(r"/static/([\w.]+)", page.text):
        found = client.get(f"/static/{name}")
        assert found.status_code == 200
        assert client.get(f"/static/{name}", headers={"If-None-Match": found.headers["etag"]}).status_code == 304
    for name in ("__init__.py", "../app.py", "..%2fapp.py", "nothing.js"):
        assert client.get(f"/static/{name}").status_code == 404


def test_no_file_of_the_page_makes_markup_of_texts_or_names_another_host() -> None:
    for each in resources.files("interlingua.web").iterdir():
        if each.name.rpartition(".")[2] in ("js", "css", "html"):
            text = each.read_text(encoding="utf-8")
            assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function", text)
            hosts = set(re.findall(r"https?://[^\s\"']+", text)) - {"http://www.w3.org/2000/svg"}
            assert not hosts, each.name
            assert text.count("\n") <= 350, each.name


def test_the_wheel_takes_the_files_along() -> None:
    """All below ``src/interlingua`` is packaged; nothing of the page may be ignored by git, which the build follows."""
    ignored = (Path(__file__).parents[2] / ".gitignore").read_text(encoding="utf-8").split()
    assert not {"*.js", "*.css", "*.html", "*.svg", "web"} & set(ignored)


def test_titles_and_users_are_found_within_bounds(client: TestClient, session: Session) -> None:
    first = session.data.catalogue.titles[7]
    found = asked(client, f"/v1/titles?q={first.upper()}&limit=3")["items"]
    assert found[0]["title"] == first
    assert len(asked(client, "/v1/titles?limit=4")["items"]) == 4
    asked(client, "/v1/titles?limit=1000", status=422)
    asked(client, f"/v1/titles?q={'x' * 300}", status=422)
    users = asked(client, "/v1/page/users", {"part": "U0000", "limit": 5})
    assert [each["user_id"] for each in users["users"]] == [f"u0000{n}" for n in range(5)]
    assert users["total"] == 60
    one = asked(client, "/v1/page/user", {"user_id": "u00003"})
    assert one["events"] == len(one["history"]) > 0
    asked(client, "/v1/page/user", {"user_id": "nobody"}, status=404)
    client.post("/v1/events", json={"events": [{"user_id": "zoe", "item_id": one["history"][0]["item_id"]}]})
    assert asked(client, "/v1/page/users", {"part": "zo"})["users"][0]["events"] == 1


def test_columns_of_a_fusion_and_reasons_by_each(fused: Session) -> None:
    recommender = interlingua.load(fused)
    with TestClient(create_app(recommender)) as client:
        about = asked(client, "/v1/page/about")
        columns = [column["id"] for column in about["columns"]]
        assert columns == ["popularity", "member-1", "member-2", "member-3", "served"]
        assert [c["id"] for c in about["columns"] if c["first"]] == ["popularity", "member-2", "member-3", "served"]
        assert about["reads_texts"]
        assert not about["versions"]
        ask = {"user_id": "u00003"}
        lists = {name: asked(client, "/v1/page/list", ask | {"column": name, "k": 6})["items"] for name in columns}
        ids = {name: [item["item_id"] for item in found] for name, found in lists.items()}
        assert ids["served"] == [one.item_id for one in recommender.recommend("u00003", k=6)]
        assert ids["popularity"] == ids["member-1"]
        events = [item["events"] for item in lists["popularity"]]
        assert events == sorted(events, reverse=True)
        assert len({tuple(each) for each in ids.values()}) > 2
        had = {item["item_id"] for item in asked(client, "/v1/page/user", ask)["history"]}
        assert not had & {item for each in ids.values() for item in each}
        for name in columns:
            found = asked(client, "/v1/page/why", ask | {"column": name, "items": ids[name][:3]})["reasons"]
            assert len(found) == (0 if name == "popularity" else 3)
            for reason in found:
                known = {each["id"] for each in reason["evidence"]}
                assert {each for part in reason["parts"] for each in part["evidence"]} <= known
                assert "".join(part["text"] for part in reason["parts"]) == reason["sentence"]
        refused = asked(client, "/v1/page/list", ask | {"column": "member-9"}, status=422)
        assert "member-9" in refused["detail"]


def test_a_run_without_texts_has_a_map_of_who_had_what_and_takes_no_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_of_events, solved = scipy.sparse.linalg.svds, list[int]()
    monkeypatch.setattr(
        scipy.sparse.linalg, "svds", lambda *a, k, **b: solved.append(k) or made_of_events(*a, k=k, **b)
    )
    made = run("itemknn", out=tmp_path, data="planted", overrides=WORLD, device="cpu")
    with TestClient(create_app(interlingua.load(made))) as client:
        about = asked(client, "/v1/page/about")
        assert not about["reads_texts"]
        assert [column["id"] for column in about["columns"]] == ["popularity", "served"]
        found = asked(client, "/v1/page/map")
        assert found["space"] == "who had the items"
        assert asked(client, "/v1/page/map") == found
        for point in found["points"][:3]:
            place = asked(client, "/v1/page/item", {"item_id": point["item_id"]})["point"]
            assert place == pytest.approx([point["x"], point["y"]])
    assert len(solved) == 1  # the vectors are made once, not for each item that is looked at


def test_a_new_item_lands_beside_what_is_like_it_and_moves_nothing(client: TestClient, session: Session) -> None:
    before = asked(client, "/v1/page/map")
    assert len(before["points"]) == before["total"] == len(session.data.catalogue)
    asked(client, "/v1/items", {"items": [SPACE]})
    after = asked(client, "/v1/page/map")
    new = [point for point in after["points"] if point["new"]]
    assert [point["item_id"] for point in new] == ["n1"]
    assert [point for point in after["points"] if not point["new"]] == before["points"]
    found = asked(client, "/v1/page/item", {"item_id": "n1"})
    assert found["point"] == pytest.approx([new[0]["x"], new[0]["y"]])
    assert found["item"]["new"]
    assert "Space" in found["alike"][0]["categories"]
    assert found["sampled"] == 60
    assert found["had"] == 0
    assert 0 <= found["in_10"] <= found["in_100"] == 60  # of 41 items
    best = found["best"][0]
    listed = asked(client, "/v1/page/list", {"user_id": best["user_id"], "k": 50})["items"]
    assert listed[best["place"] - 1]["item_id"] == "n1"
    client.delete("/v1/items/n1")
    assert asked(client, "/v1/page/map") == before
    asked(client, "/v1/page/item", {"item_id": "n1"}, status=404)


def test_what_was_measured(client: TestClient, session: Session) -> None:
    model = asked(client, "/v1/page/model")
    report = model["protocols"]["full"]
    assert report["metrics"]["ndcg@10"] == pytest.approx(session.metrics["full"]["ndcg@10"])
    assert "unseen items" in report["slices"]
    assert report["slices"]["unseen items"]["n_targets"] > 0
    assert model["folder"] == session.path.name
    assert str(session.path.parent) not in str(model)


def test_who_asks_is_exactly_one(client: TestClient) -> None:
    for body in ({}, {"user_id": "u00003", "history": []}, {"history": [], "k": 51}, {"history": [], "key": 1}):
        asked(client, "/v1/page/list", body, status=422)
    sentence = {"history": [], "text": "space galaxy orbit", "text_weight": 1, "k": 3}
    assert "Space" in asked(client, "/v1/page/list", sentence)["items"][0]["categories"]


def test_an_answer_is_of_one_version(session: Session) -> None:
    served, looks = interlingua.load(session), list[str]()
    views = PageViews(lambda: looks.append("look") or served)  # a further look might find another version
    person, item = {"user_id": str(served.train.user_ids[0])}, str(served.train.item_ids[0])
    for answer in (
        lambda: views.titles("", 3),
        views.about,
        lambda: views.users(UsersRequest()),
        lambda: views.user(person["user_id"]),
        lambda: views.listed(ListRequest(column="served", **person)),
        lambda: views.why(WhyRequest(column="served", items=[item], **person)),
        views.item_map,
        lambda: views.item(ItemRequest(item_id=item)),
        views.model,
    ):
        looks.clear()
        answer()
        assert looks == ["look"]
