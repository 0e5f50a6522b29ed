"""The rankers that learn nothing: a chat model behind a server that misbehaves, and likelihoods of titles alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interlingua.clients.answers import UnusableAnswerError
from interlingua.clients.asking import ServerError
from interlingua.clients.completion import Answer
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import RankerInputs
from interlingua.data.domain import Domain
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.rankers._orders import Form, checked
from interlingua.rankers.chat import Chat, ChatConfig
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.opening import open_session
from interlingua.testing.fake_server import FakeServer, serving

TITLES = ["Heat", "Heat 2", "Toy Story", "Toy Story 2", "Alien | Director's Cut", "Alien", "Up"]
BASE = np.array([3.0, 1.0, 5.0, 2.0, 4.0, 6.0, 0.0], np.float32)
"""the backbone's score of each item: 5, 2, 4, 0, 3, 1, 6"""
QUICK = {"backoff_s": 0.001, "backoff_max_s": 0.002, "tries": 2, "answer_tries": 2}


def inputs() -> RankerInputs:
    users, items = np.repeat(np.arange(3), 2), np.array([0, 2, 1, 3, 4, 5])
    train = Interactions.of(np.array(["a", "b", "c"]), np.array([f"i{n}" for n in range(7)]), users, items)

    def base_score(queries: Queries, candidates: Any = None) -> Any:
        scores = np.tile(BASE, (len(queries), 1))
        return scores if candidates is None else np.take_along_axis(scores, np.asarray(candidates), 1)

    return RankerInputs(
        titles=TITLES, domain=Domain(), train=train, items=np.zeros((7, 0)), items_from_text=None, user_embeddings=None,
        user_dim=0, base_score=base_score,
    )  # fmt: skip


def chat(url: str, folder: Path, **options: Any) -> Chat:
    values = {"base_url": url, "model": "m", "ledger": str(folder / "ledger.sqlite"), "limits": QUICK}
    return Chat(ChatConfig.model_validate(values | options), inputs())


def numbered(asked: str) -> dict[str, int]:
    """Title -> number, as the question lists the candidates."""
    listed = asked.split("Which of the following")[1]
    return {title: int(number) for number, title in re.findall(r"^(\d+)\. (.*)$", listed, re.M)}


def order(ranker: Chat, histories: list[list[int]], items: list[list[int]]) -> list[list[int]]:
    scores = ranker.score(Queries.of(histories), np.array(items))
    return [[row[c] for c in np.argsort(-s, kind="stable")] for row, s in zip(items, scores, strict=True)]


def test_numbers_decide_and_the_rest_keeps_the_backbones_order(tmp_path: Path) -> None:
    server = FakeServer()
    server.answer = lambda asked: json.dumps({"ranking": f"{numbered(asked)['Up']}, {numbered(asked)['Heat']}, 99"})
    with serving(server) as url:
        ranker = chat(url, tmp_path)
        assert not ranker.fit(Fitting(ranker.inputs.train)).trained
        assert order(ranker, [[1, 2]], [[2, 0, 5, 6, 3]]) == [[6, 0, 5, 2, 3]]
        assert ranker.score(Queries.of([[1, 2]]), np.array([[6, 6, 0]])).tolist() == [[1.0, 1.0, 0.5]]
    (asked, _) = server.calls[0]
    assert "- Heat 2\n- Toy Story\n" in asked
    assert server.bodies[0]["messages"][0]["content"].startswith("You recommend items.")


def test_a_list_is_shuffled_alike_for_everyone_or_shown_as_it_was_retrieved(tmp_path: Path) -> None:
    server = FakeServer()
    server.answer = lambda asked: json.dumps({"ranking": "1"})
    with serving(server) as url:
        shuffled = chat(url, tmp_path)
        shuffled.score(Queries.of([[1, 2]]), np.array([[2, 0, 5, 6, 3]]))
        shuffled.score(Queries.of([[1, 2]]), np.array([[3, 6, 5, 0, 2]]))
        assert len(server.calls) == 1  # the place of a candidate among its neighbours says nothing
        chat(url, tmp_path, order="retrieved").score(Queries.of([[1, 2]]), np.array([[2, 0, 5, 6, 3]]))
    assert list(numbered(server.calls[1][0])) == ["Alien", "Toy Story", "Heat", "Toy Story 2", "Up"]
    assert list(numbered(server.calls[0][0])) != list(numbered(server.calls[1][0]))


def test_whole_titles_count_and_parts_of_them_do_not(tmp_path: Path) -> None:
    server = FakeServer()
    server.answer = lambda asked: json.dumps({"ranking": 'toy  story 2 | "HEAT" | Toy | Alien / Director\'s Cut'})
    with serving(server) as url:
        ranker = chat(url, tmp_path, answers="titles")
        assert order(ranker, [[1]], [[0, 2, 3, 4, 5]]) == [[3, 0, 4, 5, 2]]
        server.answer = lambda asked: json.dumps({"ranking": "I would say Heat"})
        assert order(ranker, [[6]], [[0, 2, 3, 4, 5]]) == [[5, 2, 4, 0, 3]]
    assert ranker.unanswered == 1


@pytest.mark.parametrize(
    ("text", "answers", "parts"),
    [
        ('{"ranking": "3, 1, 2"}', "indices", ["3", "1", "2"]),
        ('{"ranking": [3, 1]}', "indices", ["3", "1"]),
        ('Sure:\n```json\n{"Ranking": "[3,1.]"}\n```', "indices", ["3", "1"]),
        ('{"ranking": "Toy Story 2, Heat"}', "indices", None),
        ('{"ranking": "1-5"}', "indices", None),
        ('{"ranking": ""}', "titles", None),
        ("3, 1, 2", "indices", None),
        ('{"ranking": "A | B\\nC"}', "titles", ["A", "B", "C"]),
    ],
)
def test_only_an_order_is_an_answer(text: str, answers: Form, parts: list[str] | None) -> None:
    if parts is None:
        with pytest.raises(UnusableAnswerError):
            checked(Answer(text, 1, 1), answers)
    else:
        assert json.loads(checked(Answer(text, 1, 1), answers)) == parts


def test_what_fails_keeps_the_backbones_order_and_is_asked_once(tmp_path: Path, capsys: Any) -> None:
    server = FakeServer(lambda asked, before: "prose" if "- Up\n" in asked else "good")
    server.answer = lambda asked: json.dumps({"ranking": str(numbered(asked)["Heat"])})
    with serving(server) as url:
        for _ in range(2):
            found = order(chat(url, tmp_path), [[6], [2]], [[0, 5, 1], [0, 5, 1]])
            assert found == [[5, 0, 1], [0, 5, 1]]
        assert len(server.calls) == 3  # one good answer, two tries of the other question, nothing the second time
        assert "1 of 2 questions keep the backbone's order (no usable answer)" in capsys.readouterr().err
        server.manner = lambda asked, before: "good"
        assert order(chat(url, tmp_path, retry_failed=True), [[6]], [[0, 5, 1]]) == [[0, 5, 1]]


def test_a_budget_is_kept_over_processes_and_a_dead_server_is_an_error_that_can_be_resumed(tmp_path: Path) -> None:
    server = FakeServer()
    server.answer = lambda asked: json.dumps({"ranking": str(numbered(asked)["Heat"])})
    prices = {"models": {"m": {"input": 1000.0, "output": 1000.0}}}  # each call: 150 tokens, 0.15
    with serving(server) as url:
        options = {
            "prices": prices,
            "budget": 0.85,
            "sampling": {"max_tokens": 60},
            "limits": QUICK | {"concurrency": 1},
        }
        histories, items = [[n] for n in (1, 2, 3, 4)], [[0, 5, 6]] * 4
        first = order(chat(url, tmp_path, **options), histories, items)
        answered = len(server.calls)
        assert 0 < answered < 4
        assert first == [[0, 5, 6]] * answered + [[5, 0, 6]] * (4 - answered)
        assert order(chat(url, tmp_path, **options), histories, items) == first
        assert len(server.calls) == answered
        server.manner = lambda asked, before: "401"
        with pytest.raises(ServerError, match="answers so far are kept"):
            order(chat(url, tmp_path, **options | {"budget": None}), histories, items)
        server.manner = lambda asked, before: "good"
        assert order(chat(url, tmp_path, **options | {"budget": None}), histories, items) == [[0, 5, 6]] * 4
        assert sum(manner == "good" for _, manner in server.calls) == 4
    with pytest.raises(ConfigError, match="a budget needs the price of 'm'"):
        chat("http://localhost:1/v1", tmp_path, budget=1.0).config.check_models()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OPENAI_API_KEY", raising=False)
        with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
            chat("https://example.org/v1", tmp_path).config.check_models()


def test_a_recipe_asks_a_server_and_its_run_opens_where_it_is_trusted(tmp_path: Path) -> None:
    server = FakeServer()
    server.answer = lambda asked: json.dumps({"ranking": "2, 1"})
    with serving(server) as url:
        sets = [
            f"ranker.base_url={url}", "ranker.model=m", f"ranker.ledger={tmp_path / 'ledger.sqlite'}",
            "evaluate.max_users=5", "data.options.num_users=40", "data.options.num_items=30",
        ]  # fmt: skip
        run = stages.run(recipes.load("chat", sets, "planted"), out=tmp_path / "runs", seed=1, device="cpu")
        assert run.done["rank"].card["parameters"] == 0
        asked = len(server.calls)
        assert asked == 5
        folder = run.done["evaluate"].path
        with pytest.raises(ConfigError, match=r"not trusted: it .*speaks to the server"):
            open_session(folder, "cpu")
        opened = open_session(folder, "cpu", trust=True)
        assert opened.ranker.config.base_url == url
        queries = opened.data.split.queries("test").slice(0, 2)
        items = np.tile(np.arange(6), (2, 1))
        assert np.array_equal(opened.ranker.score(queries, items), run.ranker.score(queries, items))


def test_options_of_the_question_are_seen_by_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """template, history_length and max_title_chars change the question; key_variable and structured how it is sent."""
    server = FakeServer()
    server.answer = lambda asked: json.dumps({"ranking": "1"})
    monkeypatch.setenv("MY_API_KEY", "secret-of-mine")
    template = tmp_path / "short.txt"
    template.write_text(
        "history: {title}\ncandidate: {number}={title}\nseparator: ;\n---\n"
        "Seen {history}. Which of the following? {candidates}",
        encoding="utf-8",
    )
    cases: list[dict[str, Any]] = [
        {}, {"history_length": 1}, {"max_title_chars": 8}, {"template": str(template)},
        {"key_variable": "MY_API_KEY", "structured": "none"},
    ]  # fmt: skip
    with serving(server) as url:
        for number, options in enumerate(cases):
            folder = tmp_path / str(number)
            folder.mkdir()
            chat(url, folder, **options).score(Queries.of([[1, 2, 4]]), np.array([[0, 3, 5]]))
    asked = [body["messages"][-1]["content"] for body in server.bodies]
    assert "Heat 2" in asked[0]
    assert "Heat 2" not in asked[1]
    assert "Director's Cut" in asked[0]
    assert "Director's Cut" not in asked[2]
    assert asked[3].startswith("Seen ")
    assert "response_format" in server.bodies[0]
    assert "response_format" not in server.bodies[4]


def test_a_batch_size_of_questions_is_the_local_models(tmp_path: Path) -> None:
    assert ChatConfig(batch_size=3).batch_size == 3
    with pytest.raises(ConfigError, match="batch_size"):
        recipes.resolve(
            {"data": {"name": "planted"}, "backbone": {"name": "pop"}, "ranker": {"name": "chat", "batch_size": 0}}
        )
