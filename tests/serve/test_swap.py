"""Promoted versions over real HTTP: swapped in under load without a failed request, rolled back, refused in words."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")
from tests.serve.live import eventually, served

import interlingua
from interlingua.errors import ConfigError
from interlingua.life.refresh import refresh
from interlingua.life.versions import enter, promote, rollback
from interlingua.recommender import Recommender
from interlingua.runs.stages import run
from interlingua.serve.limits import ServeLimits
from interlingua.serve.model import ServedModel
from interlingua.serve.promoted import LOG, Promoted, served_model
from interlingua.store import Event, Item, ModelVersion, Store


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two versions over the same data; both read texts."""
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
    out = tmp_path_factory.mktemp("runs")
    made = [run(name, out=out, data="planted", overrides=options, device="cpu") for name in ("textknn", "l3ae")]
    return made[0].path, made[1].path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "shop.sqlite")


def holder(store: Store, run: Path | None = None, *, pin: bool = False) -> ServedModel:
    return served_model(store, lambda path: interlingua.load(path, device="cpu", store=store), run, pin=pin)


def test_a_swap_under_load_fails_no_request_and_loses_no_item(runs: tuple[Path, Path], store: Store) -> None:
    model = holder(store, runs[0])
    first, second = model.now.version, enter(store, runs[1]).version
    answers: list[tuple[int, str]] = []
    stop = threading.Event()

    def ask(number: int, base: httpx.URL) -> None:
        with httpx.Client(base_url=base, timeout=60) as client:
            while not stop.is_set():
                history = [f"i{number:05d}"]
                answer = client.post("/v1/recommend", json={"history": history, "k": 5, "explain": 1})
                answers.append((answer.status_code, answer.json().get("model_version", answer.text)))

    with served(model, ServeLimits(queue=64)) as client:
        askers = [threading.Thread(target=ask, args=(number, client.base_url)) for number in range(4)]
        for each in askers:
            each.start()
        eventually(lambda: len(answers) > 30)
        promote(store, second)
        sent = 0
        while client.get("/health/ready").json()["model_version"] != second:  # items come while it loads
            if sent < 5:
                item = {"item_id": f"new {sent}", "title": "The Lost Galaxy"}
                assert client.post("/v1/items", json={"items": [item]}).status_code == 200
                sent += 1
        at = len(answers)
        eventually(lambda: len(answers) > at + 30)
        stop.set()
        for each in askers:
            each.join()
        assert {status for status, _ in answers} == {200}
        assert {version for _, version in answers[:30]} == {first}
        assert {version for _, version in answers[-20:]} == {second}
        assert f'model_version="{second}"' in client.get("/metrics").text
        ready = client.get("/health/ready").json()
        assert ready["items"] == 40 - 1 + sent
        assert ready["problem"] is None
        rollback(store)
        eventually(lambda: client.get("/health/ready").json()["model_version"] == first)
        assert client.get("/health/ready").json()["items"] == 39 + sent


def test_a_version_that_cannot_be_loaded_leaves_the_former_one(
    runs: tuple[Path, Path], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = holder(store, runs[0])
    first = model.now.version
    store.add_model(ModelVersion("gone", str(tmp_path / "nowhere")))
    logged = list[str]()
    monkeypatch.setattr(LOG, "warning", lambda words, *given: logged.append(words % given))
    with served(model) as client:
        store.promote("gone")
        eventually(lambda: client.get("/health/ready").json()["problem"])
        ready = client.get("/health/ready")
        assert ready.status_code == 200
        assert ready.json()["model_version"] == first
        problem = ready.json()["problem"]
        assert re.fullmatch(r"version gone is promoted and does not serve: \w+Error", problem)  # anybody reads it
        assert str(tmp_path / "nowhere") in logged[0]
        assert client.post("/v1/recommend", json={"history": []}).json()["model_version"] == first
        store.promote(enter(store, runs[1]).version)
        eventually(lambda: client.get("/health/ready").json()["problem"] is None)
        assert client.get("/health/ready").json()["model_version"] != first


def test_items_of_another_process_come_out(runs: tuple[Path, Path], store: Store) -> None:
    with served(holder(store, runs[0])) as client:
        with Store.open(store.place.removeprefix("sqlite:///")) as other:
            other.put_items([Item("theirs", "The Lost Galaxy", attributes={"price": 3})])
        ask = {"history": [], "filters": {"price<": 4}, "k": 3}
        eventually(lambda: client.post("/v1/recommend", json=ask).json().get("items"))
        store.delete_items(["theirs"])
        ask = {"history": [], "k": 50, "items": ["theirs"]}
        eventually(lambda: not client.post("/v1/recommend", json=ask).json()["items"])


def test_which_run_a_service_begins_with(runs: tuple[Path, Path], store: Store) -> None:
    with pytest.raises(ConfigError, match="no version is promoted"):
        holder(store)
    first = holder(store, runs[0]).now.version  # unknown: promoted by that
    second = holder(store, runs[1]).now.version
    assert store.promotions() == [first, second]
    assert holder(store).now.version == second
    assert holder(store, runs[0]).now.version == second  # the same command again after a promotion
    pinned = holder(store, runs[0], pin=True)
    assert pinned.now.version == first
    (companion,) = pinned.companions
    assert isinstance(companion, Promoted)
    companion.look()
    assert pinned.now.version == first
    assert store.promotions() == [first, second]


def test_events_it_was_trained_with_count_once_and_those_that_its_filters_left_out_count(
    runs: tuple[Path, Path], store: Store
) -> None:
    plain = interlingua.load(runs[0], device="cpu")
    user = str(plain.train.user_ids[3])
    item = str(plain.train.item_ids[plain.train.items[plain.train.offsets[3]]])
    store.add_events([Event(user, item), Event("rare", item)])
    enter(store, runs[0], events=2)
    again = Recommender.load(runs[0], "cpu", store=store)
    assert again.recommend(user, k=9) == plain.recommend(user, k=9)
    assert [each.item_id for each in again.recommend("rare", k=9)] == [
        each.item_id for each in plain.recommend(history=[item], k=9)
    ]


def test_versions_over_http(runs: tuple[Path, Path], store: Store) -> None:
    model = holder(store, runs[0])
    first, second = model.now.version, enter(store, runs[1], "a better one").version
    with served(model) as client:
        found = client.get("/v1/models").json()
        assert found["serving"] == first
        assert [each["version"] for each in found["models"]] == [second, first]
        assert [each["serves"] for each in found["models"]] == [False, True]
        assert found["models"][0]["note"] == "a better one"
        assert 0 < found["models"][0]["metrics"]["full ndcg@10"] < 1
        assert client.post(f"/v1/models/{second[:6]}/promote").json() == {"version": second, "before": first}
        eventually(lambda: client.get("/v1/models").json()["serving"] == second)
        assert client.post("/v1/models/rollback").json() == {"version": first, "before": second}
        eventually(lambda: client.get("/v1/models").json()["serving"] == first)
        refused = client.post("/v1/models/rollback")
        assert refused.status_code == 422
        assert f"name a version: {second}" in refused.json()["detail"]
        assert client.post("/v1/models/nothing/promote").status_code == 422
    with served(Recommender.load(runs[0], "cpu")) as client:
        assert "no store" in client.get("/v1/models").json()["detail"]


def test_the_command_line_promotes_and_rolls_back(
    runs: tuple[Path, Path], store: Store, cli: Callable[..., tuple[int, str, str]]
) -> None:
    place = store.place.removeprefix("sqlite:///")
    code, out, _ = cli("versions", "--store", place)
    assert code == 0
    assert "no versions yet" in out
    names = [json.loads(cli("promote", str(each), "--store", place, "--json")[1])["version"] for each in runs]
    assert cli("rollback", "--store", place)[1] == f"serves: {names[0]}\n"
    assert cli("promote", names[1][:7], "--store", place)[1] == f"serves: {names[1]}\n"
    code, _, err = cli("promote", "nothing", "--store", place)
    assert code == 2
    assert "unknown version" in err
    out = cli("versions", "--store", place)[1]
    assert out.startswith(f"* {names[1]}  made ")
    assert f"  {names[0]}  made " in out
    assert "full ndcg@10 0." in out
    found = json.loads(cli("versions", "--store", place, "--json")[1])
    assert [len(each["promoted"]) for each in found] == [2, 2]


def test_what_users_do_is_trained_on_served_and_rolled_back(
    runs: tuple[Path, Path], store: Store, tmp_path: Path
) -> None:
    model = holder(store, runs[0])
    first, catalogue = model.now.version, [str(item) for item in model.now.train.item_ids]
    with served(model) as client:
        new = {"item_id": "n1", "title": "The Lost Galaxy", "description": "space rocket orbit nebula"}
        assert client.post("/v1/items", json={"items": [new]}).status_code == 200
        events = [{"user_id": user, "item_id": item} for user in ("ann", "bob") for item in catalogue[:5]]
        events += [{"user_id": f"u{number:05d}", "item_id": "n1"} for number in range(8)]
        assert client.post("/v1/events", json={"events": events}).json()["added"] == len(events)
        ask = {"user_id": "ann", "k": 50}
        before = [item["item_id"] for item in client.post("/v1/recommend", json=ask).json()["items"]]
        done = refresh(None, store, out=tmp_path / "runs", device="cpu")
        assert done.promoted
        eventually(lambda: client.get("/v1/models").json()["serving"] == done.version)
        assert {"ann", "bob"} <= set(model.now.train.user_indices)  # in the run itself now
        assert "n1" in model.now.session.data.split.train.item_indices
        after = [item["item_id"] for item in client.post("/v1/recommend", json=ask).json()["items"]]
        assert sorted(after) == sorted(before)  # what she had counts once, and does not come out
        assert not set(after) & set(catalogue[:5])
        assert "n1" in after
        assert client.post("/v1/models/rollback").json()["version"] == first
        eventually(lambda: client.get("/v1/models").json()["serving"] == first)
        again = [item["item_id"] for item in client.post("/v1/recommend", json=ask).json()["items"]]
        assert again == before  # the old version has the store's items and events as before
