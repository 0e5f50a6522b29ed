"""Bodies whose values have another type than the schema's, or say nothing that can be meant: 422 in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

import interlingua
from interlingua.runs.stages import run
from interlingua.serve.app import create_app


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
    session = run("textknn", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=options, device="cpu")
    with TestClient(create_app(interlingua.load(session))) as client:
        yield client


@pytest.mark.parametrize(
    "wrong",
    [
        {"k": True}, {"k": "2"}, {"k": 2.5}, {"repeat": "yes"}, {"repeat": 1}, {"rerank": "false"}, {"explain": "1"},
        {"text_weight": "0.5"}, {"new_share": True}, {"diversity": "1"}, {"diversity": 1e39}, {"user_id": 5},
    ],
)  # fmt: skip
def test_values_have_their_type(client: TestClient, wrong: dict[str, Any]) -> None:
    refused = client.post("/v1/recommend", json={"history": [], **wrong})
    assert refused.status_code == 422
    (problem,) = [each for each in refused.json()["detail"] if each["loc"] != ["body"]] or refused.json()["detail"]
    assert {*wrong} & {*problem["loc"]} or wrong == {"user_id": 5}


def test_a_whole_number_may_have_a_point_and_null_is_nothing(client: TestClient) -> None:
    asked = {"history": [], "k": 2.0, "filters": None, "exclude": None, "items": None, "explain": True}
    answer = client.post("/v1/recommend", json=asked)
    assert len(answer.json()["items"]) == 2
    assert client.post("/v1/similar", json={"item_id": "i00003", "filters": None, "exclude": None}).status_code == 200


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        (5, 'filters is a number; give a text such as "price < 20", or an object of column: value'),
        (True, "filters is true or false"),
        (["a"], "filters is a list"),
        ({"brand": {"a": 1}}, "filters: 'brand' has an object as a value; give a text, a number"),
        ({"brand": [["a"]]}, "filters: 'brand' has a list as a value"),
        ({"": 1}, "a column's name has 1 to 500 characters, this one 0"),
        ({"brand": ["x"] * 1001}, "filters: 'brand' has 1,001 values; at most 1,000 are read"),
        ({"brand": "x" * 501}, "filters: 'brand' has a text of 501 characters"),
        ({str(n): n for n in range(21)}, "filters: 21 columns; at most 20"),
        ("x" * 10_001, "filters: a text of 10,001 characters"),
    ],
)
def test_filters_of_a_wrong_form_are_refused_in_words(client: TestClient, filters: Any, words: str) -> None:
    refused = client.post("/v1/recommend", json={"history": [], "filters": filters})
    assert refused.status_code == 422
    (problem,) = refused.json()["detail"]
    assert problem["loc"] == ["body", "filters"]
    assert words in problem["msg"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_is_not_sent_as_json_is_told_so(client: TestClient, kind: str) -> None:
    refused = client.post("/v1/recommend", content=b'{"history": []}', headers={"content-type": kind})
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["msg"] == f"the content-type is '{kind}'; send application/json"


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"time": True}, "the time is True; give seconds since 1970, a date"),
        ({"time": "2026"}, "time is '2026', a year alone; write the day too"),
        ({"time": 2026}, "a year alone"),
        ({"value": True}, "valid number"),
        ({"value": "5"}, "valid number"),
    ],
)
def test_an_event_has_a_time_and_a_value_or_none(client: TestClient, event: dict[str, Any], words: str) -> None:
    refused = client.post("/v1/events", json={"events": [{"user_id": "tim", "item_id": "i00003", **event}]})
    assert refused.status_code == 422
    assert words in refused.text
    assert client.post("/v1/recommend", json={"user_id": "tim"}).status_code == 404  # nothing was kept


def test_a_time_ahead_is_kept_and_noted(client: TestClient) -> None:
    events = [{"user_id": "fut", "item_id": "i00003", "time": time} for time in ("2098-01-02", 1767225600, None)]
    answer = client.post("/v1/events", json={"events": events}).json()
    assert answer["added"] == 3
    assert "the time of 1 of 3 events is more than a day ahead (e.g. 2098-01-02)" in answer["notes"][0]


def test_a_text_without_weight_is_as_none(client: TestClient) -> None:
    asked = {"text": "lost space galaxy", "text_weight": 0, "k": 5}
    bare = client.post("/v1/recommend", json={"history": [], "k": 5}).json()
    for who in ({}, {"history": []}):
        answer = client.post("/v1/recommend", json={**asked, **who}).json()
        assert answer["items"] == bare["items"]
        assert (answer["stages_used"], answer["notes"]) == (["popularity"], bare["notes"])
    own, told = ({"history": ["i00003"], "k": 5, **more} for more in ({}, asked))
    lists = [client.post("/v1/recommend", json=each).json()["items"] for each in (own, told)]
    assert lists[0] == lists[1]


def test_a_new_id_without_blanks(client: TestClient) -> None:
    refused = client.post("/v1/items", json={"items": [{"item_id": " n14 ", "title": "space"}]})
    assert refused.status_code == 422
    assert "' n14 ' is not known, and its id begins or ends with blanks" in refused.json()["detail"]


def test_yes_and_no_over_http(client: TestClient) -> None:
    items = [{"item_id": said, "title": "lost", "attributes": {"sold_out": said}} for said in ("yes", "no")]
    assert client.post("/v1/items", json={"items": items}).status_code == 200

    def found(filters: Any) -> int:
        return len(client.post("/v1/recommend", json={"history": [], "k": 100, "filters": filters}).json()["items"])

    for pair in (
        [{"sold_out": True}, "sold_out == true", "sold_out == 1"],
        [{"sold_out!=": True}, "sold_out != true", "sold_out != 1"],
    ):
        assert len({found(filters) for filters in pair}) == 1
    assert (found({"sold_out": True}), found({"sold_out": False}), found({"sold_out!=": True})) == (1, 1, found({}) - 1)
    refused = client.post("/v1/recommend", json={"history": [], "filters": {"sold_out": "maybe"}})
    assert refused.status_code == 422
