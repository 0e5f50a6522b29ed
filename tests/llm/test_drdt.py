"""DRDT: a conversation of 2 k + 2 calls, an oracle and a mute server, training events only, and nothing asked twice."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from interlingua.clients.asking import ServerError
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import RankerInputs
from interlingua.data.domain import Domain
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError
from interlingua.rankers import _asked
from interlingua.rankers.drdt import Drdt, DrdtConfig
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.testing.fake_server import FakeServer, serving
from interlingua.training.demonstrations import NextEvents, other_items

QUICK = {"backoff_s": 0.001, "backoff_max_s": 0.002, "tries": 2, "answer_tries": 2, "concurrency": 1}
TITLES = ["Heat", "Heat 2", "Toy Story", "Toy Story 2", "Alien", "Up", "Jaws", "Big"]
HISTORY = [0, 1, 2, 3, 4]
MUTE = 'body-{"choices": [{"index": 0, "message": {"role": "assistant", "content": " "}, "finish_reason": "stop"}]}'


def inputs() -> RankerInputs:
    """Users a: 0 1 4 5, b: 2 4 6; the backbone's order of all items is 7 6 5 ... 0."""
    users, items = np.array([0, 0, 0, 0, 1, 1, 1]), np.array([0, 1, 4, 5, 2, 4, 6])
    train = Interactions.of(np.array(["a", "b"]), np.array([f"i{n}" for n in range(8)]), users, items)

    def base_score(queries: Queries, candidates: Any = None) -> Any:
        scores = np.tile(np.arange(8, dtype=np.float32), (len(queries), 1))
        return scores if candidates is None else np.take_along_axis(scores, np.asarray(candidates), 1)

    return RankerInputs(
        titles=TITLES, domain=Domain(), train=train, items=np.zeros((8, 0)), items_from_text=None, user_embeddings=None,
        user_dim=0, base_score=base_score, columns=("category", "release_year"),
    )  # fmt: skip


def drdt(url: str, folder: Path, **options: Any) -> Drdt:
    values = {"base_url": url, "model": "m", "ledger": str(folder / "ledger.sqlite"), "limits": QUICK}
    return Drdt(DrdtConfig.model_validate(values | options), inputs())


def numbered(asked: str) -> dict[str, int]:
    """Title -> number, as the last question lists the candidates."""
    return {title: int(number) for number, title in re.findall(r"^(\d+)\. (.*)$", asked, re.M)}


def talking(asked: str, first: str = "Heat 2") -> str:
    """A number of the ranking's candidates, or free words."""
    listed = numbered(asked)
    return json.dumps({"ranking": str(listed[first])}) if first in listed else f"thoughts on {len(asked)} letters"


def server_of(answer: Any = talking) -> FakeServer:
    server = FakeServer()
    server.answer = answer
    return server


def order(ranker: Drdt, histories: list[list[int]], items: list[list[int]], users: Any = None) -> list[list[int]]:
    scores = ranker.score(Queries.of(histories, users), np.array(items))
    return [[row[c] for c in np.argsort(-s, kind="stable")] for row, s in zip(items, scores, strict=True)]


@pytest.mark.parametrize("reflections", [0, 1, 3])
def test_a_user_costs_2k_and_2_calls_each_with_the_whole_conversation(tmp_path: Path, reflections: int) -> None:
    server = server_of()
    with serving(server) as url:
        ranker = drdt(url, tmp_path, reflections=reflections)
        assert not ranker.fit(Fitting(ranker.inputs.train)).trained
        assert order(ranker, [HISTORY], [[5, 1, 6, 7]]) == [[1, 7, 6, 5]]
    assert len(server.bodies) == 2 * reflections + 2
    assert all(body["temperature"] == 0 for body in server.bodies)
    for number, body in enumerate(server.bodies):
        roles = [message["role"] for message in body["messages"]]
        assert roles == ["system", *["user", "assistant"] * number, "user"]
        assert (
            body["messages"][:-1]
            == [
                *server.bodies[number - 1]["messages"],
                {"role": "assistant", "content": talking(server.bodies[number - 1]["messages"][-1]["content"])},
            ][: len(body["messages"]) - 1]
            if number
            else True
        )


def test_reflections_hold_back_the_last_items_and_reveal_them(tmp_path: Path) -> None:
    server = server_of()
    with serving(server) as url:
        order(drdt(url, tmp_path, reflections=2), [HISTORY], [[5, 1]])
    thinking, probe, critique, second, last, ranking = [body["messages"][-1]["content"] for body in server.bodies]
    assert "- Heat\n- Heat 2\n- Toy Story\n\n" in thinking
    assert "Toy Story 2" not in thinking
    assert "Alien" not in thinking
    assert "category, release year" in thinking  # the catalogue's columns
    shown = dict(re.findall(r"^([AB])\. (.*)$", probe, re.M))
    assert set(shown.values()) - {TITLES[n] for n in HISTORY} != set()  # the other one is none of the history
    letter = re.match(r"It was ([AB]), Toy Story 2\.", critique)
    assert letter
    assert shown[letter[1]] == "Toy Story 2"
    assert "Alien" in second
    assert re.match(r"It was [AB], Alien\.", last)
    assert set(numbered(ranking)) == {"Heat 2", "Up"}


def test_short_histories_have_fewer_reflections_and_an_empty_one_asks_nothing(tmp_path: Path) -> None:
    server = server_of()
    with serving(server) as url:
        ranker = drdt(url, tmp_path)
        assert order(ranker, [[4, 2], [4], []], [[5, 1, 6]] * 3) == [[1, 6, 5], [1, 6, 5], [6, 5, 1]]
        assert len(server.calls) == 4 + 2
        assert ranker.score(Queries.of([]), np.zeros((0, 3), np.int64)).shape == (0, 3)
        with pytest.raises(ConfigError, match="orders given candidates"):
            ranker.score(Queries.of([[1]]))


def test_the_demonstration_is_another_users_training_sequence(tmp_path: Path) -> None:
    server = server_of()
    with serving(server) as url:
        ranker = drdt(url, tmp_path, reflections=0, demonstration_candidates=4)
        for user in (-1, 0):
            order(ranker, [[1, 4]], [[5, 1]], np.array([user]))
        order(drdt(url, tmp_path, reflections=0, demonstration=False), [[1, 4]], [[5, 1]])
    stranger, user_a = server.bodies[0]["messages"][0]["content"], server.bodies[2]["messages"][0]["content"]
    assert "- Heat\n- Heat 2\n- Alien\n\n" in stranger
    assert "- Toy Story\n- Alien\n\n" in user_a  # not his own
    listed = numbered(user_a)
    assert len(listed) == 4
    answer = [int(n) for n in json.loads(user_a.rpartition("A good answer: ")[2])["ranking"].split(",")]
    assert sorted(answer) == [1, 2, 3, 4]
    assert answer[0] == listed["Jaws"]  # what b had behind it
    assert "An example" not in server.bodies[4]["messages"][0]["content"]


def test_demonstrations_come_from_training_events_alone() -> None:
    split = generate(num_users=60, num_items=30).split
    train, index = split.train, NextEvents(split.train)
    test = split.queries("test")
    for row, user in enumerate(test.users.tolist()):
        found = index.after(int(test.history(row)[-1]), user)
        assert found is not None
        history, answer = found
        owners = [
            u for u in range(train.num_users)
            if train.history(u)[: len(history) + 1].tolist() == [*history.tolist(), answer]
        ]  # fmt: skip
        assert set(owners) - {user}
    alone = train.filter(train.users == 3)
    assert NextEvents(alone).after(int(alone.items[0]), 3) is None
    assert NextEvents(alone).after(99, -1) is not None  # an item of later days: the first sequence
    assert NextEvents(train.filter(np.zeros(len(train), bool))).after(0, -1) is None


def test_another_users_sequence_is_found_as_by_looking_at_every_event() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        users, items = generator.integers(0, 6, 30), generator.integers(0, 8, 30)
        train = Interactions.of(np.arange(6).astype(str), np.arange(9).astype(str), users, items)
        places = [n for n in range(29) if train.users[n] == train.users[n + 1]]
        index = NextEvents(train)
        for user in range(-1, 6):
            for item in range(-1, 10):
                others = [n for n in places if train.users[n] != user]
                first = next(iter([n for n in others if train.items[n] == item] or others))
                found = index.after(item, user)
                assert found is not None
                assert found[1] == train.items[first + 1]
                assert found[0].tolist() == train.items[train.offsets[train.users[first]] : first + 1].tolist()


def test_a_demonstration_for_a_rare_item_is_found_without_sorting_all_events(monkeypatch: pytest.MonkeyPatch) -> None:
    index = NextEvents(generate(num_users=60, num_items=30).split.train)
    for name in ("sort", "argsort", "flatnonzero"):
        monkeypatch.setattr(np, name, None)
    assert index.after(0, -1) is not None
    assert index.after(99, 0) is not None


@pytest.mark.parametrize("num_items", [5, 30, 200_000])
def test_drawn_items_are_different_unseen_and_the_same_again(num_items: int) -> None:
    without = {0, 2, 3}
    rounds = [other_items(np.random.default_rng(seed), num_items, without, 4) for seed in range(300)]
    assert all(len(set(found)) == len(found) == min(4, num_items - 3) for found in rounds)
    assert not without & {item for found in rounds for item in found}
    assert max(item for found in rounds for item in found) < num_items
    assert rounds == [other_items(np.random.default_rng(seed), num_items, without, 4) for seed in range(300)]
    counts = np.bincount([found[0] * 5 // num_items for found in rounds], minlength=5)
    assert num_items == 5 or (counts > 300 / 5 / 2).all()  # of any part of the catalogue
    assert other_items(np.random.default_rng(0), 3, without, 4) == [1]


def test_of_a_large_catalogue_a_few_items_are_drawn() -> None:
    assert len(other_items(np.random.default_rng(0), 10**12, {1, 2}, 5)) == 5  # more than could be listed


def test_an_oracle_ranks_the_truth_first_and_a_mute_server_leaves_the_backbones_order(tmp_path: Path) -> None:
    """In a run on the generated world."""
    server = server_of(lambda asked: json.dumps({"ranking": "1"}) if numbered(asked) else "words")
    with serving(server) as url:
        sets = [
            f"ranker.base_url={url}", "ranker.model=m", f"ranker.ledger={tmp_path / 'ledger.sqlite'}",
            "ranker.limits.backoff_s=0.001", "ranker.limits.tries=2", "ranker.limits.give_up_after=3",
            "evaluate.max_users=3", "data.options.num_users=40", "data.options.num_items=30",
        ]  # fmt: skip
        run = stages.run(recipes.load("drdt", sets, "planted"), out=tmp_path / "runs", seed=1, device="cpu")
        assert run.done["rank"].card["parameters"] == 0
        ranker, split = run.ranker, run.data.split
        assert isinstance(ranker, Drdt)
        queries, true = split.queries("test").slice(0, 12), split.test.items[:12]
        others = [item for item in range(split.train.num_items) if item not in set(true.tolist())]
        candidates = np.column_stack([np.tile(others[:5], (12, 1)), true])
        goals = {ranker.shown[item] for item in true}
        server.answer = lambda asked: json.dumps(
            {"ranking": ",".join(str(n) for title, n in numbered(asked).items() if title in goals) or "words"}
        )
        assert (ranker.score(queries, candidates).argmax(1) == 5).all()  # R@1 = 1
        server.manner = lambda asked, before: MUTE
        mute = Drdt(ranker.config.model_copy(update={"ledger": str(tmp_path / "other.sqlite")}), ranker.inputs)
        silent = mute.score(queries, candidates)
    assert ranker.inputs.base_score is not None
    for mine, theirs in zip(silent, ranker.inputs.base_score(queries, candidates), strict=True):
        assert (np.diff(theirs[np.argsort(-mine)]) <= 0).all()
    assert mute.unanswered == 12


def test_a_server_that_is_down_is_an_error(tmp_path: Path) -> None:
    ranker = drdt("http://localhost:9/v1", tmp_path, limits=QUICK | {"give_up_after": 1})
    with pytest.raises(ServerError, match=r"ranker 'drdt' stopped.*run again"):
        order(ranker, [HISTORY], [[5, 1]])


def test_after_a_kill_nothing_is_asked_twice(tmp_path: Path) -> None:
    """A server that refuses everything from the seventh call on stands for the kill."""
    histories, items = [HISTORY, [4, 2, 1], [2, 3, 4]], [[5, 1, 6, 7]] * 3
    server = server_of()
    with serving(server) as url:
        server.manner = lambda asked, before: "good" if len(server.calls) < 6 else "401"
        with pytest.raises(ServerError, match="answers so far are kept"):
            order(drdt(url, tmp_path, reflections=1), histories, items)
        answered = [manner for _, manner in server.calls].count("good")
        assert 0 < answered < 12
        server.manner = lambda asked, before: "good"
        whole = order(drdt(url, tmp_path, reflections=1), histories, items)
        assert [manner for _, manner in server.calls].count("good") == 12  # 2 k + 2 for each of three
        assert order(drdt(url, tmp_path, reflections=1), histories, items) == whole
        assert [manner for _, manner in server.calls].count("good") == 12


def test_exact_titles_count_and_parts_of_them_do_not(tmp_path: Path) -> None:
    server = server_of(lambda asked: json.dumps({"ranking": "Heat | toy story 2 | Toy"}) if numbered(asked) else "x")
    with serving(server) as url:
        ranker = drdt(url, tmp_path, answers="titles", reflections=0)
        assert order(ranker, [[4, 5]], [[0, 1, 2, 3]]) == [[0, 3, 2, 1]]
        server.answer = lambda asked: json.dumps({"ranking": "Surely Heat 2"}) if numbered(asked) else "y"
        assert order(ranker, [[5, 4]], [[0, 1, 2, 3]]) == [[3, 2, 1, 0]]


def test_a_budget_ends_conversations_and_their_users_keep_the_backbones_order(tmp_path: Path) -> None:
    server = server_of()
    options: dict[str, Any] = {
        "prices": {"models": {"m": {"input": 1000.0, "output": 1000.0}}}, "budget": 1.5, "reflections": 0,
        "sampling": {"max_tokens": 60, "temperature": 0.0}, "retry_failed": False, "order": "retrieved",
    }  # fmt: skip
    with serving(server) as url:
        found = order(drdt(url, tmp_path, **options), [[1], [2], [3]], [[0, 1, 6]] * 3)
    assert 0 < len(server.calls) < 6
    assert [6, 1, 0] in found


def test_options_of_the_conversation_are_seen_by_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """aspects, history_length, max_title_chars, key_variable and structured; base_url as in chat."""
    monkeypatch.setenv("MY_API_KEY", "secret-of-mine")
    server = server_of(lambda asked: json.dumps({"ranking": "1"}) if numbered(asked) else "x")
    cases: list[dict[str, Any]] = [
        {}, {"aspects": ["price", "seller"]}, {"history_length": 3}, {"max_title_chars": 8},
        {"key_variable": "MY_API_KEY", "structured": "none"},
    ]  # fmt: skip
    asked = []
    with serving(server) as url:
        for number, options in enumerate(cases):
            folder = tmp_path / str(number)
            folder.mkdir()
            drdt(url, folder, reflections=1, **options).score(Queries.of([HISTORY]), np.array([[5, 6]]))
            asked.append(server.bodies[-4:])
    words = [bodies[0]["messages"][-1]["content"] for bodies in asked]
    assert "price, seller" in words[1]
    assert "price, seller" not in words[0]
    assert "- Heat\n" in words[0]
    assert "- Heat\n" not in words[2]
    assert "Toy Story" in words[0]
    assert "Toy Sto…" in words[3]
    assert "response_format" in asked[0][-1]
    assert "response_format" not in asked[4][-1]
    assert any("drdt" in note for note in Drdt.caveats(DrdtConfig(base_url="https://example.org/v1")))


@pytest.mark.parametrize("retry_failed", [False, True])
def test_what_failed_is_asked_again_only_where_that_is_wanted(tmp_path: Path, retry_failed: bool) -> None:
    server = server_of()
    with serving(server) as url:
        server.manner = lambda asked, before: MUTE
        assert order(drdt(url, tmp_path, reflections=0), [HISTORY], [[5, 1, 6]]) == [[6, 5, 1]]
        failed = len(server.calls)
        server.manner = lambda asked, before: "good"
        found = order(drdt(url, tmp_path, reflections=0, retry_failed=retry_failed), [HISTORY], [[5, 1, 6]])
    assert failed == QUICK["answer_tries"]
    assert len(server.calls) - failed == (2 if retry_failed else 0)
    assert found == ([[1, 6, 5]] if retry_failed else [[6, 5, 1]])


def test_a_model_on_this_machine_answers_as_many_at_once_as_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []

    def local(model: Any, tokenizer: Any, *, batch_size: int, **named: Any) -> Any:
        given.append(batch_size)

    held = SimpleNamespace(model=None, tokenizer=None, name="m", revision=None, abilities=SimpleNamespace(cache=0))
    monkeypatch.setattr(_asked, "whole_model", lambda config: held)
    monkeypatch.setattr(_asked, "LocalModel", local)
    for options in ({}, {"batch_size": 3}):
        ranker = Drdt(DrdtConfig.model_validate({"model": "m"} | options), inputs())
        assert ranker.completer is None
    assert given == [8, 3]
