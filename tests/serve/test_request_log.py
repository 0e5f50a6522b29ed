"""The request log and interleaving over real HTTP, replayed against two versions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")
from tests.serve.live import eventually, served

from interlingua.errors import ConfigError, DataError, StoreError
from interlingua.life.interleaving import INTERLEAVED, preference
from interlingua.life.observed import opened
from interlingua.life.request_log import LARGEST, PLACES, RequestLog
from interlingua.life.shadow import shadow
from interlingua.life.versions import enter
from interlingua.recommender import Recommender
from interlingua.runs.stages import run
from interlingua.serve.model import ServedModel
from interlingua.serve.promoted import model_of
from interlingua.store import Store

OPTIONS = {"device": "cpu"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
    out = tmp_path_factory.mktemp("runs")
    made = [run(name, out=out, data="planted", overrides=options, device="cpu") for name in ("textknn", "pop")]
    return made[0].path, made[1].path


def logged_model(runs: tuple[Path, Path], place: Path, fraction: float, interleave: str | None = None) -> ServedModel:
    return model_of(OPTIONS, runs[0], str(place), log_requests=fraction, interleave=interleave)


def test_answers_are_logged_without_sentences_and_replayed(
    runs: tuple[Path, Path], tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    place = tmp_path / "s.db"
    with served(logged_model(runs, place, 1.0)) as client:
        users = [f"u{number:05d}" for number in range(20)]
        bodies = [{"user_id": user, "k": 5} for user in users]
        bodies += [
            {"history": ["i00001"], "k": 3, "filters": "not 'x' in categories"},
            {"text": "galaxy and orbit", "k": 4},
            {"user_id": users[0], "k": 2, "explain": 1},
        ]
        answers = [client.post("/v1/recommend", json=body) for body in bodies]
        assert {answer.status_code for answer in answers} == {200}
        assert client.post("/v1/recommend", json={"user_id": "nobody"}).status_code == 404
        with Store.open(place) as store:
            eventually(lambda: len(store.requests()) == len(bodies))
            logged = store.requests()
    by_user = {entry.user_id: entry for entry in logged if entry.request["k"] == 5}
    for user, answer in zip(users, answers, strict=False):
        assert list(by_user[user].items) == [item["item_id"] for item in answer.json()["items"]]
        assert by_user[user].version == answer.json()["model_version"]
        assert by_user[user].latency_ms > 0
    (spoken,) = [entry for entry in logged if entry.request.get("with_text")]
    assert "galaxy" not in json.dumps(spoken.request)
    (filtered,) = [entry for entry in logged if "filters" in entry.request]
    assert filtered.request == {"filters": "not 'x' in categories", "history": ["i00001"], "k": 3}

    with Store.open(place) as store:
        versions = [Recommender.load(path, "cpu", store=store) for path in runs]
        report = shadow(versions[0], versions[1], store)
        assert (report.requests, report.without) == (22, 1)
        assert report.overlap is not None
        assert 0 < report.overlap < 1
        assert report.coverage[versions[1].version] <= 1
        assert report.latency_ms[versions[0].version]["p50"] <= report.latency_ms[versions[0].version]["p99"]
        same = shadow(versions[0], Recommender.load(runs[0], "cpu", store=store), store, limit=10)
        assert (same.overlap, same.ranked_overlap, same.equal) == (1, pytest.approx(1), 1)
        assert len(store.requests()) == len(bodies)  # a replay is not logged
    said = cli("shadow", str(runs[0]), str(runs[1]), "--store", str(place), "--device", "cpu")[1]
    assert said.startswith("22 requests, ")
    assert "interleaved" not in said


def test_interleaved_lists_are_credited_by_events_over_http(
    runs: tuple[Path, Path], tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    place = tmp_path / "s.db"
    with Store.open(place) as store:
        rival = enter(store, runs[1]).version
    model = logged_model(runs, place, 0.0, interleave=rival)
    old, own, pop = model.now.version, Recommender.load(runs[0], "cpu"), Recommender.load(runs[1], "cpu")
    users = [f"u{number:05d}" for number in range(25)]
    with served(model) as client, Store.open(place) as store:
        mixed, liked = 0, 0
        for user in users:
            answer = client.post("/v1/recommend", json={"user_id": user, "k": 6, "explain": 2}).json()
            assert answer["model_version"] == old
            items = [item["item_id"] for item in answer["items"]]
            best = [one.item_id for one in own.recommend(user, k=6)]
            mixed += items != best
            theirs = [one.item_id for one in pop.recommend(user, k=6)]
            taken = [item for item in items if item in best and item not in theirs]  # users of the old one's taste
            events = [{"user_id": user, "item_id": item, "time": time.time()} for item in taken]
            if events:
                assert client.post("/v1/events", json={"events": events}).status_code == 200
            liked += len(events)
        assert mixed > 18
        stranger = client.post("/v1/recommend", json={"history": ["i00001"], "k": 6}).json()
        expected = [one.item_id for one in own.recommend(history=["i00001"], k=6)]
        assert [item["item_id"] for item in stranger["items"]] == expected  # nobody could be credited
        eventually(lambda: len(store.requests()) == len(users))  # interleaved ones always, others by the fraction: 0
        assert all(INTERLEAVED in entry.request for entry in store.requests())
        found = preference(store, old, rival)
        assert found.lists == 25
        assert found.credits_old == liked
        assert found.credits_new == 0
        assert found.verdict == f"users prefer {old}"
    said = json.loads(cli("shadow", old, rival, "--store", str(place), "--device", "cpu", "--json")[1])
    assert said["preference"]["verdict"] == f"users prefer {old}"


def test_a_user_whom_the_rival_does_not_know_costs_nobody_else_the_interleaving(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    with Store.open(tmp_path / "s.db") as store:
        log = RequestLog(store, 0.0)
        own = opened(runs[0], log, Recommender.load(runs[1]), {"store": store})
        own.add_events([{"user_id": "zoe", "item_id": str(own.train.item_ids[0])}])  # the rival has no store
        asked = [("u00001", None), ("zoe", None), ("u00002", None)]
        own.answers(asked, 3)
        logged = [one.user_id for one in log._next()]
        assert logged == ["u00001", "u00002"]
        own.answers(asked, 3, new_share=0.5)  # an interleaved list might have fewer new items
        assert not log._next()


def test_a_store_that_is_slow_or_away_holds_up_no_answer(tmp_path: Path) -> None:
    class Away:
        calls = 0

        def log_requests(self, part: object) -> int:
            self.calls += 1
            raise StoreError("away")

    log = RequestLog(Away(), 1.0)  # type: ignore[arg-type]
    started = time.perf_counter()
    for number in range(PLACES + 50):
        log.add("v", f"u{number}", {"k": 1}, ("a",), 0.1)
    log.add("v", "long", {"items": ["x" * 100] * (LARGEST // 100)}, ("a",), 0.1)
    assert time.perf_counter() - started < 10
    assert log.dropped == 50
    log.start(None)
    log.stop()
    assert log.dropped == PLACES + 50


def test_a_fraction_of_the_users_is_logged_and_always_the_same(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        log = RequestLog(store, 0.3)
        for _ in range(2):
            for number in range(200):
                log.add("v", f"u{number}", {"k": 1}, ("a",), 0.1)
        log.start(None)
        log.stop()
        users = [entry.user_id for entry in store.requests()]
        assert 30 < len(set(users)) < 90
        assert len(users) == 2 * len(set(users))
        with pytest.raises(ConfigError, match="from 0 to 1"):
            RequestLog(store, 1.5)
    with pytest.raises(ConfigError, match="need a store"):
        model_of(OPTIONS, Path("run"), None, log_requests=0.5)


def test_an_empty_log_is_said(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        one = Recommender.load(runs[1], "cpu", store=store)
        with pytest.raises(DataError, match="--log-requests"):
            shadow(one, one, store)
