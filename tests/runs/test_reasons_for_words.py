"""Reasons of lists that were asked for in words: the words are named, and of the history only what had influence."""

from __future__ import annotations

import pytest
from tests.runs.new_items_world import LSA, events, items

import interlingua
from interlingua.recommender import Recommender

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from interlingua.serve.app import create_app

HISTORY = ["i1", "i2"]


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    data = {"interactions": events().drop("part"), "items": items()}
    recipe = {"backbone": {"name": "textknn"}, "text": LSA, "evaluate": {"protocols": ["full"], "max_users": 5}}
    return interlingua.load(interlingua.run(recipe, data=data, out=tmp_path_factory.mktemp("run"), device="cpu"))


def test_words_alone_are_the_only_reason(recommender: Recommender) -> None:
    words = f"say {recommender.titles[9]}"
    for history, weight in ((HISTORY, 1.0), ([], 0.5)):
        for one in recommender.recommend(history=history, text=words, text_weight=weight, k=3):
            (why,) = recommender.explain_items([one.item_id], history=history, text=words, text_weight=weight)
            assert why.support == []
            assert why.sentence.endswith(f"is recommended because you asked for “{words}”.")
            assert why.held == 1.0
            assert [each.text for each in why.evidence if each.kind == "text"] == [words]


def test_the_influence_is_that_on_the_score_that_ranked(recommender: Recommender) -> None:
    """By hand: half of the words' scores and half of the history's, each standardised over the catalogue."""
    words, items_ = recommender.titles[9], recommender.train.item_indices
    sentence = recommender._lists.sentences.scorer(words, 0.5)
    assert sentence is not None
    best = recommender.recommend(history=HISTORY, text=words, k=1)[0].item_id
    (why,) = recommender.explain_items([best], history=HISTORY, text=words)
    most = recommender.why_not(best, history=HISTORY, k=1, text=words).most
    assert {each.item_id: each.influence for each in why.support}.items() <= {
        each.item_id: each.influence for each in most
    }.items()
    assert sentence.sought(words, [items_[best]]).raised == [pytest.approx(0.5 * float(sentence.own[0, items_[best]]))]
    (plain,) = recommender.explain_items([best], history=HISTORY)
    assert plain.sentence != why.sentence
    assert not any(each.kind == "text" for each in plain.evidence)


def test_words_without_weight_are_no_reason(recommender: Recommender) -> None:
    words = recommender.titles[9]
    found = recommender.recommend(history=HISTORY, text=words, text_weight=0.0, k=4)
    for one in found:
        (why,) = recommender.explain_items([one.item_id], history=HISTORY, text=words, text_weight=0.0)
        assert "because you asked" not in why.sentence
    (nothing,) = recommender.explain_items(["i20"], history=[], text=words, text_weight=0.0)
    assert nothing.sentence.startswith("What you asked for, “")
    assert nothing.held == 1.0


def test_over_http_and_on_the_page(recommender: Recommender) -> None:
    words = recommender.titles[9]
    with TestClient(create_app(recommender)) as client:
        asked = {"history": HISTORY, "text": words, "text_weight": 1}
        answer = client.post("/v1/recommend", json=asked | {"k": 2, "explain": 2}).json()
        reasons = [one["reason"] for one in answer["items"]]
        assert all(reason["support"] == [] and f"asked for “{words}”" in reason["sentence"] for reason in reasons)
        shown = {"column": "served", "items": [one["item_id"] for one in answer["items"]]}
        assert client.post("/v1/page/why", json=asked | shown).json()["reasons"] == reasons
        refused = client.post("/v1/page/why", json={"column": "zz", "items": ["i3"], "history": HISTORY})
        listed = client.post("/v1/page/list", json={"column": "zz", "history": HISTORY})
        assert (refused.status_code, refused.json()) == (listed.status_code, listed.json())
        assert refused.status_code == 422
