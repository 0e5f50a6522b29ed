"""Who asks and what may come out: one rule for Python, the command line and the service."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

import interlingua
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError, DataError, UnknownIdError
from interlingua.recommender import Recommender
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.answers import Request
from interlingua.runs.questions import Questions

WORLD = {"name": "planted", "options": {"num_users": 60, "num_items": 40}}
FIT = {"epochs": 1, "batch_size": 64}
LSA = {"name": "lsa", "dim": 8}
RUNS: dict[str, dict[str, Any]] = {
    "neighbours": {"backbone": {"name": "itemknn"}},
    "closed form": {"backbone": {"name": "ease"}},
    "factors with users": {"backbone": {"name": "mf", "embedding_dim": 8, "fit": FIT}},
    "a network": {"backbone": {"name": "ncf", "embedding_dim": 8, "fit": FIT}},
    "texts": {"backbone": {"name": "textknn"}, "text": LSA},
    "aligned": {
        "backbone": {"name": "sasrec", "embedding_dim": 8, "fit": FIT}, "text": LSA,
        "align": {"name": "ridge", "frozen": ["backbone"]}, "evaluate": {"candidate_source": "aligned"},
    },
    "trained along": {
        "backbone": {"name": "lightgcn", "embedding_dim": 8, "fit": FIT}, "text": LSA | {"users": "items"},
        "align": {"name": "contrastive", "fit": FIT},
    },
    "fused by sum": {"fuse": {"name": "sum", "members": ["itemknn", "pop"]}},
    "fused by rank": {"fuse": {"name": "rrf", "members": ["itemknn", "ease"]}},
}  # fmt: skip


def made(values: dict[str, Any], out: Path) -> Recommender:
    evaluate = {"protocols": ["full"], "max_users": 5} | values.get("evaluate", {})
    resolved = recipes.resolve({"data": WORLD} | values | {"evaluate": evaluate}, "asked")
    return Recommender(stages.run(resolved, out=out, seed=3, device="cpu"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def neighbours(folder: Path) -> Recommender:
    return made(RUNS["neighbours"], folder)


@pytest.mark.parametrize("kind", RUNS)
def test_without_a_history_every_run_answers_by_popularity(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(RUNS[kind], folder)
    counts, ids = run.train.item_counts, run.train.item_ids
    expected = [str(ids[row]) for row in np.argsort(-counts, kind="stable")[:6]]
    capsys.readouterr()
    for history in ([], ["nowhere", "nothing"]):
        answers = run.recommend(history=history, k=6)
        assert [each.item_id for each in answers] == expected
        assert {each.stage for each in answers} == {"popularity"}
        assert "ranked by popularity" in capsys.readouterr().err
    known = [str(ids[0]), str(ids[1])]
    frame = run.recommend(histories={"old": known, "new": [], "odd": ["nowhere"]}, k=6)
    lists = {name: part["item_id"].to_list() for (name,), part in frame.group_by(["user_id"], maintain_order=True)}
    assert list(lists) == ["old", "new", "odd"]
    assert lists["new"] == lists["odd"] == expected
    assert lists["old"] == [each.item_id for each in run.recommend(history=known, k=6)]
    assert {each.stage for each in run.recommend(history=known, k=6)} != {"popularity"}


def test_vectors_without_events_answer_a_newcomer_by_the_mean_of_the_catalogue(tmp_path: Path) -> None:
    vectors = np.array([[0.1, 0.0], [0.0, -3.0], [2.0, 1.0], [1.0, 1.5]], np.float32)
    users = np.array([[0.0, -1.0]], np.float32)
    ids = ["a", "b", "c", "d"]
    run = interlingua.align(vectors, users, item_ids=ids, user_ids=["u"], out=tmp_path, device="cpu")
    by_mean = [ids[row] for row in np.argsort(-(vectors @ vectors.mean(axis=0)))]
    assert [each.item_id for each in run.recommend(history=[], k=4)] == by_mean
    assert run.recommend("u", k=1)[0].item_id == "b"  # no events either, but a vector of his own


def test_what_is_left_out_and_why_nothing_comes_out_is_said(neighbours: Recommender) -> None:
    ids = [str(each) for each in neighbours.train.item_ids]
    answer = neighbours.answer(history=[ids[0], ids[1] + "x"], items=[ids[0], "nowhere"], k=3)
    assert answer.items == []
    assert answer.unknown_items == (ids[1] + "x", "nowhere")
    left, items, why = answer.notes
    assert f"did you mean {ids[1]!r}?" in left
    assert items.startswith("items: 1 item id that the run does not know")
    assert why.startswith("nothing may come out: the list items leaves 1 of 40 items; the user has had 1 items")
    texts = neighbours.session.data.catalogue
    one = sorted(texts.categories[0])[0]
    some = sum(one in own for own in texts.categories)
    (why,) = neighbours.answer(history=[ids[0]], filters={"categories": one, "title": "no such"}, k=3).notes
    assert f"the filter categories = {one!r} leaves {some} of 40 items" in why
    assert f"the filter title = 'no such' leaves 0 of {some} items" in why
    frame = neighbours.recommend(users=[str(neighbours.train.user_ids[0])], items=[], k=3)
    assert frame.columns == ["user_id", "item_id", "score", "rank", "stage"]
    assert frame.height == 0


def test_a_note_repeats_no_long_filter(neighbours: Recommender) -> None:
    long = " or ".join(f"title == 'no such title {number}'" for number in range(90))
    (why,) = neighbours.answer(history=[], filters=long).notes[-1:]
    assert len(why) < 250
    assert why.startswith("nothing may come out: the filter title == 'no such title 0'")
    assert why.endswith(" ... leaves 0 of 40 items")
    many = " and ".join(f"title != 'no such title {number}'" for number in range(99))
    (why,) = neighbours.answer(history=[], filters=f"{many} and title == 'x'").notes[-1:]
    assert why.count(";") == 10
    assert "; 90 more; the filter title == 'x' leaves 0 of 40 items" in why


def test_an_empty_text_is_no_filter_anywhere(neighbours: Recommender) -> None:
    for more in ({}, {"items": ["i00001"]}, {"exclude": ["i00001"]}):
        assert neighbours.recommend(history=[], filters={}, **more)
        with pytest.raises(ConfigError, match=r"filters: an empty expression; write e\.g\."):
            neighbours.recommend(history=[], filters="", **more)


def test_the_same_message_and_status_everywhere(neighbours: Recommender, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    from interlingua.cli.recommend import recommend as command
    from interlingua.serve.app import create_app

    path, known = neighbours.session.path, str(neighbours.train.item_ids[0])
    with TestClient(create_app(neighbours)) as client:

        def post(**body: Any) -> Any:
            return client.post("/v1/recommend", json=body)

        with pytest.raises(UnknownIdError) as stranger:
            neighbours.recommend("nobody")
        with pytest.raises(UnknownIdError) as on_the_command_line:
            command(path, user="nobody")
        gone = post(user_id="nobody")
        assert gone.status_code == 404
        assert str(stranger.value) == str(on_the_command_line.value) == gone.json()["detail"]

        for body in ({"history": ["nowhere", known]}, {"history": []}, {"history": [known], "items": []}):
            capsys.readouterr()
            command(path, history=",".join(body["history"]), items="" if "items" in body else None, k=10)
            out, err = capsys.readouterr()
            answer = post(**body)
            assert answer.status_code == 200
            found = answer.json()
            assert found["notes"]
            assert [line for line in err.splitlines() if line.startswith("note")] == [
                f"note: {note}" for note in found["notes"]
            ]
            assert [line.split("[")[1].split("]")[0] for line in out.splitlines()] == [
                each["item_id"] for each in found["items"]
            ]
        for filters in ({"title contains": ""}, {"titel": "x"}, {"title>": 5}):
            with pytest.raises((ConfigError, DataError)) as refused:
                neighbours.recommend(history=[], filters=filters)
            answer = post(history=[], filters=filters)
            assert (answer.status_code, answer.json()["detail"]) == (422, str(refused.value))


def test_an_item_that_was_rated_does_not_come_again_and_only_what_was_liked_is_read(tmp_path: Path) -> None:
    world = generate(num_users=40, num_items=20, seed=2).interactions
    ratings = np.where(np.arange(len(world.items)) % 4 == 1, 1.0, 5.0)
    events = pl.DataFrame(
        {
            "user_id": [f"u{row}" for row in world.users], "item_id": [f"i{row}" for row in world.items],
            "timestamp": world.times, "rating": ratings,
        }
    )  # fmt: skip
    session = interlingua.run(
        "itemknn", data=events, out=tmp_path, device="cpu",
        overrides=["data.label.at_least=4", "data.filter={min_user = 0, min_item = 0}", 'evaluate.protocols=["full"]'],
    )  # fmt: skip
    run = interlingua.load(session)
    had = events.filter(pl.col("user_id") == "u3")
    disliked = set(had.filter(pl.col("rating") < 4)["item_id"])
    assert disliked
    answers = run.recommend("u3", k=20)
    assert not {each.item_id for each in answers} & set(had["item_id"])
    assert disliked <= {each.item_id for each in run.recommend("u3", k=20, repeat=True)}
    # the same scores as for somebody with the liked items alone, who may well get the others
    liked = had.filter(pl.col("rating") >= 4).sort("timestamp", maintain_order=True)["item_id"].to_list()
    free = {each.item_id: each.score for each in run.recommend(history=liked, k=20)}
    assert disliked <= free.keys()
    assert {each.item_id: each.score for each in answers} == {k: v for k, v in free.items() if k not in disliked}
    frame = run.recommend(users=["u3"], k=20)
    assert frame["item_id"].to_list() == [each.item_id for each in answers]


def test_ids_come_as_any_list(neighbours: Recommender) -> None:
    ids = [str(each) for each in neighbours.train.item_ids[:3]]
    expected = neighbours.recommend(history=ids, k=3)
    column = pl.Series("item_id", ids)
    for given in (tuple(ids), np.array(ids), column, column.to_pandas()):
        assert neighbours.recommend(history=given, k=3) == expected
    for wrong in ("i1", {"i1": 2}, [["i1"]], pl.DataFrame({"item_id": ids})):
        with pytest.raises(ConfigError, match="history"):
            neighbours.recommend(history=wrong)  # type: ignore[arg-type]


def test_an_option_that_no_question_takes_is_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown option of a question 'explain'.*diversity, exclude"):
        Request.of(5, {"explain": 3})
    assert Request.of(5, {"repeat": True}) == Request(5, True, repeat=True)


@pytest.mark.parametrize("kind", RUNS)
def test_an_expression_is_exact_under_the_best_k(kind: str, folder: Path) -> None:
    """The first k of all that pass, never fewer: as if the whole order were cut down to them."""
    one = made(RUNS[kind], folder)
    text = 'not (categories == "lost" or "a" in title) and item_id >= "i00005"'
    users = [str(user) for user in one.train.user_ids[:8]]
    items = one.session.data.catalogue.items
    passing = set(
        items.filter(~items["title"].str.to_lowercase().str.contains("a") & (items["item_id"] >= "i00005"))["item_id"]
    )
    assert 8 < len(passing) < 35
    everything, found = (one.recommend(users=users, k=k, filters=how) for k, how in ((40, None), (5, text)))
    for user in users:
        expected = [i for i in everything.filter(pl.col("user_id") == user)["item_id"] if i in passing][:5]
        assert found.filter(pl.col("user_id") == user)["item_id"].to_list() == expected
        assert len(expected) == 5


def test_an_expression_is_read_once(neighbours: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    from interlingua.runs import questions

    text = 'title != "read once"'
    first = neighbours.recommend(history=[], filters=text)
    monkeypatch.setattr(questions, "passing", None)
    assert neighbours.recommend(history=[], filters=text) == first
    for number in range(questions.REMEMBERED + 1):
        neighbours._lists.questions._masks[f"{number}"] = []
    monkeypatch.undo()
    neighbours.recommend(history=[], filters="true")
    assert len(neighbours._lists.questions._masks) == 1


def test_masks_in_memory_have_a_bound_in_bytes(neighbours: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 items: 40 bytes a condition."""
    from interlingua.runs import questions

    known = neighbours._lists.questions
    known._masks.clear()
    monkeypatch.setattr(questions, "MASK_BYTES", 200)
    for text, held in (
        ("true", 40),
        ("true and true", 120),
        ("true and true and true", 120),
        ("true" + 5 * " and true", 0),
    ):
        assert len(neighbours.recommend(history=[], filters=text, k=3)) == 3
        assert sum(mask.nbytes for masks in known._masks.values() for _, mask in masks) == held


def test_a_list_of_a_million_ids_is_read_in_a_second() -> None:
    """Among a million items: ten times the time that a quiet machine takes is allowed, not a scan per id."""
    ids = [f"item {number}" for number in range(1_000_000)]
    questions = object.__new__(Questions)
    questions.train = SimpleNamespace(item_indices={name: at for at, name in enumerate(ids)}, num_items=len(ids))
    started = time.process_time()
    allowed = questions.allowed(Request(10, True, items=[*ids[::-2], "unknown"], exclude=ids[:10]))
    assert time.process_time() - started < 5
    assert allowed.mask.sum() == 499_995
    assert allowed.unknown == {"items": ["unknown"]}
