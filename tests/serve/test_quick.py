"""Plain questions are answered together, before the framework: with the answers that each gets by itself."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from interlingua.recommender import Recommender
from interlingua.runs.stages import run
from interlingua.serve.access import Access
from interlingua.serve.app import create_app
from interlingua.serve.keyring import KeyRing
from interlingua.serve.keys import make_key
from interlingua.serve.model import ServedModel
from interlingua.serve.queue import BusyError, WorkQueue
from interlingua.serve.quick import SHORT_S, Quick
from interlingua.serve.schema import RecommendRequest

OPTIONS = ("data.options={num_users = 80, num_items = 60}", 'evaluate.protocols=["full"]')
JSON = [(b"content-type", b"application/json")]


class Watched(Recommender):
    """Says in which threads it answered; may take longer than the event loop has time for."""

    pause_s = 0.0

    def answers(self, requests: Any, k: int = 10, **options: Any) -> Any:
        vars(self).setdefault("threads", []).append(threading.current_thread())
        time.sleep(self.pause_s * len(requests))
        return super().answers(requests, k, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    session = run("itemknn", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=OPTIONS, device="cpu")
    return session.done["evaluate"].path


@pytest.fixture(scope="module")
def recommender(folder: Path) -> Recommender:
    found = Recommender.load(folder)
    found.add_events(
        [{"user_id": "zoe", "item_id": str(found.train.item_ids[0])}, {"user_id": "u00003", "item_id": "?"}]
    )
    return found


@pytest.fixture(scope="module")
def client(recommender: Recommender) -> Iterator[TestClient]:
    with TestClient(create_app(recommender)) as client:
        yield client


def questions(recommender: Recommender, count: int) -> list[dict[str, Any]]:
    """Random ones of all kinds, few options, so that many go together."""
    rng = random.Random(3)
    users, items = [*map(str, recommender.train.user_ids), "zoe"], [*map(str, recommender.train.item_ids), "unknown"]
    out = []
    for _ in range(count):
        who = rng.choice(["user", "history", "nobody"])
        one: dict[str, Any] = {"user_id": rng.choice(users)} if who == "user" else {"history": []}
        if who == "history":
            one["history"] = rng.choices(items, k=rng.randrange(1, 9))
        one |= rng.choice([{}, {}, {"k": 3}, {"k": 60}, {"repeat": True}, {"diversity": 0.5}])
        one |= rng.choice([{}, {}, {"filters": "title is not None"}, {"filters": {"title": "x"}}])
        one |= rng.choice([{}, {}, {"exclude": rng.choices(items, k=4)}, {"items": rng.choices(items, k=9)}])
        out.append(one)
    return out


def body(question: dict[str, Any]) -> bytes:
    return json.dumps(question).encode()


def scope(**more: Any) -> dict[str, Any]:
    return {"path": "/v1/recommend", "method": "POST", "headers": JSON} | more


def quick_of(recommender: Recommender, **line: Any) -> Quick:
    return Quick(ServedModel(recommender), WorkQueue(**({"places": 4, "deadline_s": 30.0} | line)))


def test_answers_of_a_crowd_are_those_of_each_alone(recommender: Recommender) -> None:
    asked = questions(recommender, 300)

    async def crowd() -> list[bytes | None]:
        quick = quick_of(recommender)
        quick._seconds = 1e-6  # batches as large as they may be
        return await asyncio.gather(*(quick.answer(scope(), body(each)) for each in asked))

    for question, found in zip(asked, asyncio.run(crowd()), strict=True):
        assert found is not None
        got, options = json.loads(found), dict(question)
        alone = recommender.answer(options.pop("user_id", None), options.pop("history", None), **options)
        assert [(one["item_id"], one["title"], one["score"], one["stage"]) for one in got["items"]] == [
            (one.item_id, one.title, one.score, one.stage) for one in alone.items
        ], question
        assert (got["notes"], got["unknown_items"]) == (list(alone.notes), list(alone.unknown_items)), question


def test_the_quick_way_and_the_usual_one_answer_alike(client: TestClient, recommender: Recommender) -> None:
    for question in questions(recommender, 40):
        quick = client.post("/v1/recommend", json=question)
        usual = client.post("/v1/recommend", content=body(question), headers={"content-type": "Application/json"})
        found = [answer.json() | {"latency_ms": 0} for answer in (quick, usual)]
        assert (quick.status_code, usual.status_code) == (200, 200)
        assert found[0] == found[1]
    counted = client.get("/metrics").text
    assert 'interlingua_requests_total{route="/v1/recommend",status="200"} 80' in counted


@pytest.mark.parametrize(
    "asked",
    [
        b'{"user_id": "nobody-knows"}', b'{"history": [], "k": 0}', b'{"history": [], "misspelt": 1}', b"{", b"",
        b'{"history": [], "filters": "nonsense ("}', b'{"history": [], "user_id": "u00001"}', b'"\xff"',
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_the_usual_way(client: TestClient, asked: bytes) -> None:
    answer = client.post("/v1/recommend", content=asked, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 404, 422)
    assert answer.json()["detail"]


def test_a_wrong_question_spoils_no_other(recommender: Recommender) -> None:
    async def crowd() -> list[bytes | None]:
        quick = quick_of(recommender)
        asked = [b'{"history": []}', b'{"user_id": "nobody-knows"}', b'{"user_id": "u00001"}']
        return await asyncio.gather(*(quick.answer(scope(), each) for each in asked))

    assert [found is not None for found in asyncio.run(crowd())] == [True, False, True]


@pytest.mark.parametrize("more", [{"explain": 1}, {"text": "words"}, {"history": ["x"] * 500}])
def test_slow_questions_are_not_taken(recommender: Recommender, more: dict[str, Any]) -> None:
    quick = quick_of(recommender)
    assert asyncio.run(quick.answer(scope(), body({"history": []} | more))) is None
    assert asyncio.run(quick.answer(scope(path="/v1/items"), body({"history": []}))) is None
    assert asyncio.run(quick.answer(scope(headers=[]), body({"history": []}))) is None


def test_too_many_are_told_when_to_come_again(recommender: Recommender) -> None:
    async def crowd() -> list[Any]:
        quick = quick_of(recommender, deadline_s=20.0)
        quick._seconds = 10.0
        asked = (quick.answer(scope(), body({"history": []})) for _ in range(6))
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(crowd())
    refused = [each for each in found if isinstance(each, BusyError)]
    assert [each.status for each in refused] == [429] * 3
    assert all(each.retry_after >= 1 for each in refused)
    assert sum(isinstance(each, bytes) for each in found) == 3


def test_who_may_not_ask_is_refused(recommender: Recommender) -> None:
    secret, key = make_key("reader", "read")
    with TestClient(create_app(recommender, access=Access(KeyRing([key])))) as client:
        asked = {"json": {"history": []}}
        assert client.post("/v1/recommend", **asked).status_code == 401
        assert client.post("/v1/recommend", **asked, headers={"authorization": "Bearer no"}).status_code == 401
        assert client.post("/v1/recommend", **asked, headers={"authorization": f"Bearer {secret}"}).status_code == 200


def test_no_answer_while_an_item_is_entered(recommender: Recommender) -> None:
    async def crowd() -> bool:
        quick = quick_of(recommender)
        assert quick.line.enter()  # as a change holds it
        asked = asyncio.ensure_future(quick.answer(scope(), body({"history": []})))
        done, _ = await asyncio.wait({asked}, timeout=0.1)
        quick.line.exit()
        return not done and await asked is not None

    assert asyncio.run(crowd())


def test_while_an_item_is_entered_questions_are_refused_at_their_deadline(recommender: Recommender) -> None:
    async def wait() -> tuple[Any, bytes | None, bytes | None]:
        quick = quick_of(recommender, deadline_s=0.05)
        request = RecommendRequest(history=[])
        assert quick.line.enter()  # as a change holds it
        last_resort = asyncio.ensure_future(quick.ask(request, time.perf_counter(), "the language model was late"))
        (late,) = await asyncio.wait_for(
            asyncio.gather(quick.answer(scope(), body({"history": []})), return_exceptions=True), 20
        )
        assert not last_resort.done()  # it has no deadline
        quick.line.exit()
        quick.line.deadline_s = 30.0
        return late, await last_resort, await quick.answer(scope(), body({"history": []}))

    late, last_resort, after = asyncio.run(wait())
    assert isinstance(late, BusyError)
    assert (late.status, late.reason[:23]) == (503, "not answered within 0.0")
    assert late.retry_after >= 1
    assert last_resort is not None
    assert after is not None


def test_a_recommender_that_was_swapped_is_let_go(folder: Path, recommender: Recommender) -> None:
    async def swapped() -> bool:
        quick = quick_of(Recommender.load(folder))
        assert await quick.answer(scope(), body({"history": []})) is not None
        former = weakref.ref(quick.model.now)
        quick.model.swap(recommender)
        gc.collect()
        return former() is None  # though nobody has asked since

    assert asyncio.run(swapped())


@pytest.mark.parametrize("swapped", [False, True])
def test_a_recommender_of_unknown_pace_does_not_hold_up_the_event_loop(folder: Path, swapped: bool) -> None:
    slow, fast = Watched.load(folder), Watched.load(folder)
    slow.pause_s = 2 * SHORT_S

    async def asked() -> None:
        quick = quick_of(fast if swapped else slow)
        if swapped:
            quick._seconds = 1e-6
            assert await quick.answer(scope(), body({"history": []})) is not None
            quick.model.swap(slow)
        for _ in range(5):
            crowd = (quick.answer(scope(), body({"history": []})) for _ in range(4))
            assert None not in await asyncio.gather(*crowd)

    asyncio.run(asked())
    assert threading.main_thread() not in slow.threads


def test_a_fast_recommender_answers_in_the_event_loop_soon(folder: Path) -> None:
    fast = Watched.load(folder)

    async def asked() -> None:
        quick = quick_of(fast)
        for _ in range(300):
            await quick.answer(scope(), body({"history": []}))
            if threading.main_thread() in fast.threads:
                return

    asyncio.run(asked())
    assert threading.main_thread() in fast.threads


def test_after_a_change_that_all_gave_up_on_the_thread_makes_ready(folder: Path) -> None:
    fast = Watched.load(folder)

    async def asked() -> None:
        quick = quick_of(fast)
        await quick.answer(scope(), body({"history": []}))
        quick._seconds = 1e-6
        assert quick.line.enter()  # as a change holds it
        gone = asyncio.ensure_future(quick.answer(scope(), body({"history": []})))
        await asyncio.sleep(0)
        gone.cancel()
        quick.line.changes += 1
        quick.line.exit()
        while quick._running is not None:
            await asyncio.sleep(0.001)
        await quick.answer(scope(), body({"history": []}))

    asyncio.run(asked())
    assert len(fast.threads) == 2
    assert threading.main_thread() not in fast.threads
