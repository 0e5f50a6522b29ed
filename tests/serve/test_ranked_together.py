"""A language model orders the lists of many in one batch; where it is late, the order before it is the answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from interlingua.recommender import Recommender
from interlingua.runs.stages import run
from interlingua.runtime import cancel
from interlingua.serve.app import create_app
from interlingua.serve.limits import ServeLimits
from interlingua.serve.queue import WorkQueue
from interlingua.serve.server import server_of
from interlingua.testing.tiny_models import build, tokenizer_of


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    folder = tmp_path_factory.mktemp("ranked")
    build("llama").save_pretrained(folder / "lm")
    tokenizer_of().save_pretrained(folder / "lm")
    options = (
        "data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]', "evaluate.max_users=3",
        "evaluate.retrieve=6", f"ranker.model={folder / 'lm'}",
    )  # fmt: skip
    session = run("llm-only", out=folder / "runs", data="planted", overrides=options, device="cpu")
    return Recommender.load(session.done["evaluate"].path)


class Slowly:
    """The ranker's scores, each batch so many seconds late; counts users of batches."""

    def __init__(self, recommender: Recommender, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.sizes: list[int] = []
        self.gate = threading.Event()
        self.steps = 0
        ranker = recommender.session.ranker
        score = ranker.score

        def slowly(queries: Any, items: Any = None) -> Any:
            self.sizes.append(len(queries))
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                cancel.check()
                self.gate.wait(0.01)
                self.steps += 1
            return score(queries, items)

        monkeypatch.setattr(ranker, "score", slowly)


@contextmanager
def served(recommender: Recommender, **limits: Any) -> Iterator[tuple[str, WorkQueue]]:
    bounds = ServeLimits(**limits)
    queue = WorkQueue(bounds.queue, bounds.deadline_s)
    server = server_of(create_app(recommender, bounds, queue), queue, bounds, "127.0.0.1", 0, log_level="error")
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started, 30)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1/recommend", queue
    finally:
        server.should_exit = True
        thread.join(15)


def eventually(condition: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not within the time"
        time.sleep(0.005)


def test_who_waits_together_is_ranked_together(recommender: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    users = [str(user) for user in recommender.train.user_ids[:9]]
    alone = {user: recommender.answer(user, k=5).items for user in users}
    slowly = Slowly(recommender, monkeypatch, 0.3)
    with served(recommender) as (url, _), ThreadPoolExecutor(9) as pool:
        ask = lambda user: httpx.post(url, json={"user_id": user, "k": 5}, timeout=60)  # noqa: E731
        first = pool.submit(ask, users[0])
        eventually(lambda: slowly.sizes == [1])
        rest = [pool.submit(ask, user) for user in users[1:]]
        found = [each.result().json() for each in (first, *rest)]
    assert max(slowly.sizes) >= 4
    assert sum(slowly.sizes) == 9
    for user, answer in zip(users, found, strict=True):
        assert answer["stages_used"] == ["llm-only"]
        assert answer["fallback_reason"] is None
        scores = {one.item_id: one.score for one in alone[user]}
        assert {one["item_id"] for one in answer["items"]} == set(scores)
        for one in answer["items"]:
            np.testing.assert_allclose(one["score"], scores[one["item_id"]], rtol=1e-4, atol=1e-4)


def test_a_late_language_model_is_left_out(recommender: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    users = [str(user) for user in recommender.train.user_ids[:3]]
    Slowly(recommender, monkeypatch, 60)
    with served(recommender, deadline_s=1.0) as (url, queue), ThreadPoolExecutor(3) as pool:
        started = time.monotonic()
        asked = [pool.submit(httpx.post, url, json={"user_id": user, "explain": 2}, timeout=60) for user in users]
        found = [each.result() for each in asked]
        assert time.monotonic() - started < 10
        eventually(lambda: queue.idle)  # nobody waits for the language model any more
        page = httpx.post(url.replace("recommend", "page/list"), json={"user_id": users[0], "k": 4}, timeout=60).json()
    for user, answer in zip(users, found, strict=True):
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert "not done within 1 s" in body["fallback_reason"]
        assert body["stages_used"] == ["itemknn"]
        expected = [one.item_id for one in recommender.answer(user, rerank=False).items]
        assert [one["item_id"] for one in body["items"]] == expected
        assert {one["reason"] for one in body["items"]} == {None}
    assert "not done within 1 s" in page["fallback_reason"]
    expected = recommender.answer(users[0], rerank=False).items[:4]
    assert [(one["item_id"], one["stage"]) for one in page["items"]] == [(one.item_id, "itemknn") for one in expected]
    assert page["items"][0]["title"] == expected[0].title


def test_who_goes_leaves_the_batch(recommender: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    users = [str(user) for user in recommender.train.user_ids[:6]]
    slowly = Slowly(recommender, monkeypatch, 60)

    def ask(user: str) -> None:
        with pytest.raises(httpx.TimeoutException):
            httpx.post(url, json={"user_id": user}, timeout=0.5)

    with served(recommender) as (url, queue), ThreadPoolExecutor(6) as pool:
        list(pool.map(ask, users))
        eventually(lambda: queue.idle)
        assert sum(slowly.sizes) < 12
        slowly.gate.set()


def test_vectors_answer_while_the_language_model_works(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowly = Slowly(recommender, monkeypatch, 60)
    with served(recommender, deadline_s=3.0) as (url, _), ThreadPoolExecutor(1) as pool:
        slow = pool.submit(httpx.post, url, json={"history": [str(recommender.train.item_ids[0])]}, timeout=60)
        eventually(lambda: slowly.sizes == [1])
        answer = httpx.post(url, json={"history": [str(recommender.train.item_ids[0])], "rerank": False}, timeout=60)
        assert answer.json()["stages_used"] == ["itemknn"]
        assert not slow.done()
        assert slow.result().json()["fallback_reason"]
