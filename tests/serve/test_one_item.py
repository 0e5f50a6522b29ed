"""What is like an item, why it is recommended and why it is not: over HTTP, on the command line, in Python."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from interlingua.cli.main import app
from interlingua.recommender import Recommender
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.serve.app import create_app

FIT = {"epochs": 1, "batch_size": 64}
KINDS: dict[str, dict[str, Any]] = {
    "texts": {"backbone": {"name": "textknn"}, "text": {"name": "lsa", "dim": 8}},
    "fused": {"fuse": {"name": "sum", "members": ["itemknn", "pop"]}},
    "factors": {"backbone": {"name": "mf", "embedding_dim": 8, "fit": FIT}},
}
USER = "u00001"


def made(values: dict[str, Any], out: Path) -> Recommender:
    world = {"name": "planted", "options": {"num_users": 60, "num_items": 40}}
    resolved = recipes.resolve({"data": world, "evaluate": {"protocols": ["full"], "max_users": 5}} | values, "asked")
    return Recommender(stages.run(resolved, out=out, seed=3, device="cpu"))


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recommender]:
    out = tmp_path_factory.mktemp("runs")
    return {name: made(values, out) for name, values in KINDS.items()}


@pytest.fixture
def texts(kinds: dict[str, Recommender]) -> Recommender:
    return kinds["texts"]


@pytest.fixture
def client(texts: Recommender) -> Iterator[TestClient]:
    with TestClient(create_app(Recommender(texts.session))) as client:
        yield client


@pytest.mark.parametrize("kind", KINDS)
def test_the_place_of_every_item_is_that_of_the_list(kinds: dict[str, Recommender], kind: str) -> None:
    recommender = kinds[kind]
    whole = recommender.recommend(USER, k=40)
    for place, one in enumerate(whole, 1):
        found = recommender.why_not(one.item_id, USER, k=5)
        (decided,) = [each for each in found.places if each.decides]
        assert decided.rank == place
        assert decided.score == pytest.approx(one.score, rel=1e-5)
        assert found.rank == (place if place <= 5 else None)
        last = whole[4 if place > 5 else 5].score
        assert decided.distance == pytest.approx(last - one.score, rel=1e-4, abs=1e-6)
    if kind == "fused":
        assert [each.name for each in found.places] == ["sum", "itemknn", "pop"]
        counts = recommender.train.item_counts
        assert found.places[2].score == counts[recommender.item_row(found.item_id)]


@pytest.mark.parametrize("kind", KINDS)
def test_one_event_more_does_what_is_said(kinds: dict[str, Recommender], kind: str) -> None:
    """A change is what the recommender answers after that event; without one no tried item would do."""
    seen = set()
    for one in kinds[kind].recommend(USER, k=40)[5:]:
        recommender = Recommender(kinds[kind].session)
        found = recommender.why_not(one.item_id, USER, k=5)
        assert found.tried > 0
        seen.add(bool(found.changes))
        for change in found.changes[:1]:
            recommender.add_events({"user_id": USER, "item_id": change.item_id})
            after = [each.item_id for each in recommender.recommend(USER, k=5)]
            assert after.index(one.item_id) + 1 == change.rank
    assert True in seen


def test_influences_are_those_of_the_reason(texts: Recommender) -> None:
    best = texts.recommend(USER, k=1)[0].item_id
    found, why = texts.why_not(best, USER, k=3), texts.explain(best, USER)
    assert found.most[: len(why.support)] == tuple(why.support)
    values = [each.influence for each in found.most]
    assert values == sorted(values, reverse=True)
    lowest = [each.influence for each in found.least]
    assert lowest == sorted(lowest)
    assert max(lowest) < min(values)


def test_all_that_keeps_an_item_out_is_named(texts: Recommender) -> None:
    recommender = Recommender(texts.session)
    had = recommender.train.item_ids[recommender.query(USER).history(0)[0]]
    recommender.add_items({"item_id": had, "available": False, "title": "Zzz"})
    title = 'title == "Other"'
    found = recommender.why_not(had, USER, exclude=[had], items=["i00003"], filters=f"{title} and title is not None")
    assert [each.kind for each in found.blocks] == ["had", "items", "exclude", "filter", "unavailable"]
    assert "title" in found.blocks[3].about
    assert found.rank is None
    assert found.places[0].rank == 1 + sum(  # among the one allowed item and itself
        recommender._lists.retriever[1].score(recommender.query(USER))[0][[3]] > found.places[0].score
    )
    free = recommender.why_not(had, USER, repeat=True)
    assert [each.kind for each in free.blocks] == ["unavailable"]
    unknown = recommender.why_not("i000033", USER)
    assert unknown.blocks[0].kind == "unknown"
    assert "did you mean 'i00033'" in unknown.sentences[0]


def test_newcomers_and_sentences(texts: Recommender) -> None:
    popular = [one.item_id for one in texts.recommend(history=[], k=40)]
    found = texts.why_not(popular[20], history=[], k=10)
    assert (found.places[0].role, found.places[0].rank) == ("popularity", 21)
    assert not found.most
    said = [one.item_id for one in texts.recommend(text="galaxy orbit", k=40)]
    by_text = texts.why_not(said[12], text="galaxy orbit", k=10)
    assert (by_text.places[0].role, by_text.places[0].rank) == ("text", 13)
    assert "place 13" in " ".join(by_text.sentences)


def test_like_with_conditions_in_python_and_over_http(client: TestClient, texts: Recommender) -> None:
    whole = texts.similar_items("i00003", k=39)
    some = [each.item_id for each in whole[5:8]]
    assert [each.item_id for each in texts.similar_items("i00003", k=2, items=some)] == some[:2]
    (second,) = texts.similar_items("i00003", k=1, exclude=[whole[0].item_id])
    assert second == whole[1]
    body = {"item_id": "i00003", "k": 2, "items": [*some, "gone"], "exclude": some[:1]}
    answer = client.post("/v1/similar", json=body).json()
    assert [each["item_id"] for each in answer["items"]] == some[1:]
    assert answer["items"][0]["score"] == pytest.approx(whole[6].score)
    assert "'gone'" in answer["notes"][0]
    assert client.post("/v1/similar", json={"item_id": "nothing"}).status_code == 404
    assert client.post("/v1/similar", json={"item_id": "i00003", "k": 0}).status_code == 422
    client.put(f"/v1/items/{some[1]}", json={"available": False})
    assert [each["item_id"] for each in client.post("/v1/similar", json=body).json()["items"]] == some[2:]
    none = client.post("/v1/similar", json={"item_id": "i00003", "filters": 'title == "?"'}).json()
    assert none["items"] == []
    assert "leaves 0" in none["notes"][0]


def test_reasons_over_http_are_those_of_the_list(client: TestClient) -> None:
    listed = client.post("/v1/recommend", json={"user_id": USER, "k": 2, "explain": 2}).json()["items"]
    asked = {"user_id": USER, "item_ids": [one["item_id"] for one in listed]}
    answer = client.post("/v1/explain", json=asked).json()
    assert [each["reason"] for each in answer["items"]] == [one["reason"] for one in listed]
    by_history = client.post("/v1/explain", json={"history": ["i00003", "gone"], "item_ids": ["i00004"]}).json()
    assert by_history["items"][0]["reason"]["sentence"]
    assert "left out: 'gone'" in by_history["notes"][0]
    assert client.post("/v1/explain", json={"item_ids": ["i00004"]}).status_code == 422
    assert client.post("/v1/explain", json={"user_id": USER, "item_ids": ["gone"]}).status_code == 404
    assert client.post("/v1/explain", json={"user_id": "nobody", "item_ids": ["i00004"]}).status_code == 404


def test_why_not_over_http_and_on_the_command_line_is_that_of_python(client: TestClient, texts: Recommender) -> None:
    item = texts.recommend(USER, k=40)[9].item_id
    expected = texts.why_not(item, USER, k=4, exclude=["i00004"]).facts()
    body = {"item_id": item, "user_id": USER, "k": 4, "exclude": ["i00004"]}
    answer = client.post("/v1/why-not", json=body).json()
    assert answer["sentences"] == expected["sentences"]
    assert {name: answer[name] for name in ("places", "changes", "blocks", "rank")} == {
        name: json.loads(json.dumps(expected[name])) for name in ("places", "changes", "blocks", "rank")
    }
    run = str(texts.session.done["evaluate"].path)
    line = ["why-not", run, "--item", item, "--user", USER, "-k", "4", "--exclude", "i00004", "--device", "cpu"]
    told = CliRunner().invoke(app, [*line, "--json"])
    assert json.loads(told.stdout.splitlines()[-1])["sentences"] == expected["sentences"]
    words = CliRunner().invoke(app, line).stdout
    assert all(sentence in words for sentence in expected["sentences"])
    assert client.post("/v1/why-not", json={"item_id": "gone", "history": []}).json()["blocks"][0]["kind"] == "unknown"
    assert client.post("/v1/why-not", json={"item_id": item, "user_id": "nobody"}).status_code == 404
    assert client.post("/v1/why-not", json={"item_id": item, "user_id": USER, "explain": 3}).status_code == 422


def test_new_items_have_their_share_over_http_and_on_the_command_line(client: TestClient, texts: Recommender) -> None:
    client.post("/v1/items", json={"items": [{"item_id": "n1", "title": "The Broken Soup"}]})
    body = {"history": ["i00003"], "k": 5, "items": ["n1", *texts.train.item_ids.tolist()[:20]]}
    plain, shared = (client.post("/v1/recommend", json=body | more).json() for more in ({}, {"new_share": 0.2}))
    assert "n1" in [one["item_id"] for one in shared["items"]]
    assert (
        client.post("/v1/recommend", json=body | {"new_share": 0.9}).json()["notes"][0].startswith("new_share: 5 of 5")
    )
    assert client.post("/v1/recommend", json=body | {"new_share": 1.1}).status_code == 422
    assert len(plain["items"]) == len(shared["items"]) == 5
    run = str(texts.session.done["evaluate"].path)
    line = ["recommend", run, "--history", "i00003", "--new-share", "1", "--json", "--device", "cpu"]
    told = CliRunner().invoke(app, line)
    assert "new_share: 10 of 10 are to be new" in told.stderr


def test_similar_on_the_command_line(texts: Recommender) -> None:
    run = str(texts.session.done["evaluate"].path)
    near = CliRunner().invoke(app, ["similar", run, "--item", "i00003", "-k", "2", "--json", "--device", "cpu"])
    found = json.loads(near.stdout.splitlines()[-1])
    assert [each["item_id"] for each in found] == [each.item_id for each in texts.similar_items("i00003", k=2)]
    others = CliRunner().invoke(app, ["similar", run, "--user", USER, "-k", "2", "--device", "cpu"])
    assert texts.similar_users(USER, k=1)[0].user_id in others.stdout.splitlines()[0]
    for wrong in ([], ["--item", "i00003", "--user", USER], ["--user", USER, "--where", "title is None"]):
        assert CliRunner().invoke(app, ["similar", run, *wrong]).exit_code != 0


def test_an_item_that_the_ranker_is_not_given(tmp_path: Path) -> None:
    """It says what it would in place of the last candidate; one event more is tried for the candidates alone."""
    pytest.importorskip("transformers")
    from interlingua.testing.tiny_models import build, tokenizer_of

    build("llama").save_pretrained(tmp_path / "lm")
    tokenizer_of().save_pretrained(tmp_path / "lm")
    ranker = {
        "name": "soft-prompt", "model": str(tmp_path / "lm"), "history_length": 3, "num_candidates": 3,
        "max_title_tokens": 3, "fit": {"epochs": 1, "steps_per_epoch": 1, "batch_size": 4},
    }  # fmt: skip
    backbone = {"name": "sasrec", "embedding_dim": 8, "fit": FIT}
    evaluate = {"protocols": ["full"], "max_users": 2, "retrieve": 6}
    asked = made({"backbone": backbone, "ranker": ranker, "evaluate": evaluate}, tmp_path / "runs")
    retrieved = [one.item_id for one in asked.recommend(USER, k=40, rerank=False)]
    listed = [one.item_id for one in asked.recommend(USER, k=6)]
    assert sorted(listed) == sorted(retrieved[:6])
    given = asked.why_not(listed[4], USER, k=2)
    assert [(each.role, each.rank, each.given) for each in given.places] == [
        ("retriever", retrieved.index(listed[4]) + 1, True), ("ranker", 5, True)
    ]  # fmt: skip
    assert given.tried == 0
    outside = asked.why_not(retrieved[9], USER, k=2)
    retriever, ranked = outside.places
    assert (retriever.rank, retriever.cut, retriever.decides) == (10, 6, False)
    assert (ranked.of, ranked.given) == (6, False)
    query = asked.query(USER)
    rows = np.array([[asked.item_row(item) for item in [*retrieved[:5], retrieved[9]]]])
    scores = asked.session.ranker.score(query, rows)[0]
    assert ranked.rank == 1 + int((scores > scores[-1]).sum())
    assert (outside.into, outside.tried > 0) == ("candidates", True)
    assert "was not given it" in outside.sentences[1]
