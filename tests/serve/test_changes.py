"""Items and events over HTTP: they count at once, and a store keeps them over a restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

import interlingua
from interlingua.errors import ConfigError, DataError, UnknownIdError
from interlingua.runs.session import Session
from interlingua.runs.stages import run
from interlingua.serve.access import Access
from interlingua.serve.app import create_app
from interlingua.serve.keyring import ring_of

SPACE = {
    "title": "The Lost Galaxy",
    "description": "A space story about orbit and rocket",
    "categories": ["Space", "Nebula"],
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
    return run("textknn", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=options, device="cpu")


@pytest.fixture
def client(session: Session) -> Iterator[TestClient]:
    with TestClient(create_app(interlingua.load(session))) as client:
        yield client


def first(client: TestClient, **ask: object) -> list[str]:
    answer = client.post("/v1/recommend", json={"k": 3} | ask)
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def test_an_item_by_its_text_comes_out_is_changed_and_goes(client: TestClient) -> None:
    before = client.get("/health/ready").json()["items"]
    sent = client.post("/v1/items", json={"items": [SPACE | {"item_id": "n 1/2", "attributes": {"price": 9}}]})
    assert sent.json() == {"added": ["n 1/2"], "updated": [], "removed": [], "notes": []}
    assert client.get("/health/ready").json()["items"] == before + 1
    assert first(client, text="space galaxy orbit rocket nebula lost story", text_weight=1)[0] == "n 1/2"
    assert first(client, history=["n 1/2"], filters={"price<": 10}) == []
    assert first(client, history=[], filters={"price<": 10}) == ["n 1/2"]
    assert client.put("/v1/items/n 1%2F2", json={"available": False}).json()["updated"] == ["n 1/2"]
    assert first(client, history=[], filters={"price<": 10}) == []
    assert client.put("/v1/items/n 1%2F2", json={"available": True, "title": "Renamed"}).status_code == 200
    answer = client.post("/v1/recommend", json={"history": [], "filters": {"price<": 10}, "k": 1}).json()
    assert answer["items"][0]["title"] == "Renamed"
    assert client.delete("/v1/items/n 1%2F2").json()["removed"] == ["n 1/2"]
    gone = client.delete("/v1/items/n 1%2F2")
    assert gone.status_code == 404
    assert "unknown item id" in gone.json()["detail"]


def test_what_a_change_left_out_is_in_its_answer(client: TestClient) -> None:
    items = [{"item_id": "n1", "title": "The Lost Galaxy"}, {"item_id": "n1", "title": "zzz qqq"}]
    notes = client.post("/v1/items", json={"items": items}).json()["notes"]
    assert notes[0] == "1 of 2 lines repeat an item_id: the last line of each counts"
    assert "texts that say nothing (e.g. 'n1')" in notes[1]


def test_a_day_as_a_number_is_that_day(client: TestClient) -> None:
    event = {"user_id": "ann", "item_id": "i00003"}
    assert client.post("/v1/events", json={"events": [event | {"time": 20260131}]}).json()["added"] == 1
    mixed = [event | {"time": 1767225600}, event | {"time": 20260131}]
    refused = client.post("/v1/events", json={"events": mixed})
    assert refused.status_code == 422
    assert "event 2 of 2: time is 20260131, a day among seconds since 1970" in refused.json()["detail"]


def test_events_change_the_next_answer_of_known_and_new_users(client: TestClient, session: Session) -> None:
    assert client.post("/v1/recommend", json={"user_id": "zoe"}).status_code == 404
    item = str(session.data.split.train.item_ids[5])
    batch = {"events": [{"user_id": "zoe", "item_id": item}, {"user_id": "u00001", "item_id": "later", "value": 5}]}
    sent = client.post("/v1/events", json=batch, headers={"Idempotency-Key": "order 1"})
    said = sent.json()
    assert (said["added"], said["unknown_items"]) == (2, ["later"])
    assert said["notes"] == [
        "1 of 2 events are of items that the run does not know ('later'): they are kept, and count once there is such "
        "an item"
    ]
    assert client.post("/v1/events", json=batch | {"idempotency_key": "order 1"}).json()["added"] == 0
    other = {"events": batch["events"][:1], "idempotency_key": "order 1"}
    assert client.post("/v1/events", json=other).status_code == 422
    assert first(client, user_id="zoe") == first(client, history=[item])
    before = first(client, user_id="u00001", k=40)
    client.post("/v1/items", json={"items": [SPACE | {"item_id": "later"}]})  # now its event says something
    after = first(client, user_id="u00001", k=41)
    assert "later" not in after
    assert sorted(after) == sorted(before)
    assert after != before


def test_null_takes_a_value_away(client: TestClient) -> None:
    assert client.put("/v1/items/n1", json=SPACE | {"attributes": {"price": 9, "brand": "Acme"}}).status_code == 200
    assert client.put("/v1/items/n1", json={"attributes": {"price": None}, "description": None}).status_code == 200
    assert client.put("/v1/items/n2", json=SPACE | {"attributes": {"price": 8}}).status_code == 200
    assert first(client, history=[], filters="price is not None") == ["n2"]
    assert first(client, history=[], filters="price is None and brand == 'Acme' and description is None") == ["n1"]
    assert client.put("/v1/items/n1", json={"title": "Renamed"}).status_code == 200  # what is not given stays
    assert first(client, history=[], filters="brand == 'Acme' and categories == 'Space'") == ["n1"]
    refused = client.put("/v1/items/n1", json={"attributes": {"brand": {"deep": 1}}})
    assert refused.status_code == 422


def test_values_off_the_scale_are_refused(client: TestClient) -> None:
    event = {"user_id": "ann", "item_id": "i00003"}
    for value in (1e308, -1e300):
        refused = client.post("/v1/events", json={"events": [event, event | {"value": value}]})
        assert refused.status_code == 422
        assert f"event 2 of 2: value is {value}; the run's data have no ratings" in refused.json()["detail"]
    assert client.post("/v1/recommend", json={"user_id": "ann"}).status_code == 404  # all or nothing


def test_what_cannot_be_taken_in_is_refused_as_a_whole(client: TestClient) -> None:
    before = client.get("/health/ready").json()["items"]
    for body in ({"items": []}, {"items": [{"title": "no id"}]}, {"items": [{"item_id": "a", "colour": "x"}]}):
        assert client.post("/v1/items", json=body).status_code == 422
    for body in ({"events": [{"user_id": "a"}]}, {"events": [{"user_id": "a", "item_id": "b", "time": "soon"}]}):
        assert client.post("/v1/events", json=body).status_code == 422
    assert client.get("/health/ready").json()["items"] == before


def test_numbers_that_are_none_are_refused(client: TestClient) -> None:
    sent = {"Content-Type": "application/json"}
    for number in ("NaN", "1e999", "-Infinity"):
        body = f'{{"items": [{{"item_id": "a", "title": "x", "attributes": {{"price": {number}}}}}]}}'
        refused = client.post("/v1/items", content=body, headers=sent)
        assert refused.status_code == 422
        assert "finite number" in refused.text
        asked = f'{{"history": [], "filters": {{"price>": {number}}}}}'
        assert client.post("/v1/recommend", content=asked, headers=sent).status_code == 422


def test_two_keys_and_fields_among_the_attributes_are_refused(client: TestClient) -> None:
    batch = {"events": [{"user_id": "zoe", "item_id": "i"}], "idempotency_key": "one"}
    refused = client.post("/v1/events", json=batch, headers={"Idempotency-Key": "two"})
    assert refused.status_code == 422
    assert "'one' in the body and 'two' in the header" in refused.json()["detail"]
    assert client.post("/v1/events", json=batch, headers={"Idempotency-Key": "one"}).json()["added"] == 1
    for name in ("title", "item_id", "available", "description", "categories", "Title", "Item ID"):
        for sent in (
            client.post("/v1/items", json={"items": [SPACE | {"item_id": "a", "attributes": {name: "x"}}]}),
            client.put("/v1/items/a", json={"attributes": {name: "x"}}),
        ):
            assert sent.status_code == 422
            assert "is a field of its own" in sent.text


def test_a_restart_keeps_items_and_events(session: Session, tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    place, item = tmp_path / "shop.sqlite", str(session.data.split.train.item_ids[0])
    with TestClient(create_app(interlingua.load(session, store=place))) as client:
        client.post("/v1/items", json={"items": [SPACE | {"item_id": "n1", "attributes": {"price": 9}}]})
        client.put("/v1/items/n2", json=SPACE | {"available": False})
        client.delete(f"/v1/items/{item}")
        client.post("/v1/events", json={"events": [{"user_id": "zoe", "item_id": "n1"}], "idempotency_key": "x"})
        answer = first(client, user_id="zoe", k=50)
    with TestClient(create_app(interlingua.load(session, store=place))) as client:
        assert first(client, user_id="zoe", k=50) == answer
        assert not {item, "n1", "n2"} & set(answer)
        assert first(client, history=[], filters={"price": 9}) == ["n1"]
        again = {"events": [{"user_id": "zoe", "item_id": "n1"}], "idempotency_key": "x"}
        assert client.post("/v1/events", json=again).json()["added"] == 0
        assert client.delete("/v1/items/n1").status_code == 200
    assert "n1" not in interlingua.load(session, store=place).train.item_indices


def test_a_run_without_texts_takes_events_and_refuses_items(tmp_path: Path) -> None:
    options = ("data.options={num_users = 40, num_items = 30}", 'evaluate.protocols=["full"]')
    made = interlingua.load(run("mf", out=tmp_path, data="planted", overrides=(*options, "backbone.fit.epochs=1")))
    user, items = str(made.train.user_ids[0]), [str(i) for i in made.train.item_ids]
    before = [one.item_id for one in made.recommend(user, k=30)]
    new = before[0]
    made.add_events({"user_id": user, "item_id": new})
    known = [items[i] for i in made._lists.questions.had.history(0)]
    after = [one.item_id for one in made.recommend(user, k=30)]
    assert after == [one.item_id for one in made.recommend(history=[*known, new], k=30)]  # folded in
    assert new not in after
    with TestClient(create_app(made)) as client:
        refused = client.post("/v1/items", json={"items": [{"item_id": "n1", "title": "x"}]})
        assert refused.status_code == 422
        assert "use a recipe that reads texts" in refused.json()["detail"]


ITEM = {"items": [SPACE | {"item_id": "key"}]}
ROUTES = [
    ("POST", "/v1/items", ITEM), ("PUT", "/v1/items/key", SPACE), ("DELETE", "/v1/items/key", None),
    ("POST", "/v1/events", {"events": [{"user_id": "zoe", "item_id": "key"}]}),
]  # fmt: skip


def statuses(session: Session, host: str, base: str, **headers: str) -> list[int]:
    app = create_app(interlingua.load(session), access=Access(ring_of(), host))
    with TestClient(app, base_url=base) as client:
        assert client.post("/v1/recommend", json={"history": []}).status_code == 200  # questions need no key
        return [client.request(verb, path, json=body, headers=headers).status_code for verb, path, body in ROUTES]


@pytest.mark.parametrize(
    ("host", "base", "allowed"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000", True), ("::1", "http://[::1]:8000", True),
        ("localhost", "http://localhost", True), ("127.0.0.1", "http://shop.example:8000", False),
        ("0.0.0.0", "http://127.0.0.1:8000", False), ("192.168.1.7", "http://192.168.1.7", False),
        ("127.0.0.1", "http://127.0.0.1.shop.example", False),
    ],
)  # fmt: skip
def test_without_a_key_this_machine_alone_changes_items(
    session: Session, monkeypatch: pytest.MonkeyPatch, host: str, base: str, allowed: bool
) -> None:
    monkeypatch.delenv("INTERLINGUA_KEY", raising=False)
    assert statuses(session, host, base) == ([200] * 4 if allowed else [403] * 4)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "1.2.3.4"}, {"Forwarded": "for=1.2.3.4"}, {"X-Real-IP": "1.2.3.4"}, {"Via": "1.1 proxy"},
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1.evil.example"},
    ],
    ids=str,
)  # fmt: skip
def test_what_a_proxy_or_a_page_passes_on_needs_a_key(
    session: Session, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    monkeypatch.delenv("INTERLINGUA_KEY", raising=False)
    assert statuses(session, "127.0.0.1", "http://127.0.0.1", **headers) == [403] * 4
    assert statuses(session, "127.0.0.1", "http://127.0.0.1", Origin="http://localhost:8000") == [200] * 4
    monkeypatch.setenv("INTERLINGUA_KEY", "k" * 20)
    assert (
        statuses(session, "127.0.0.1", "http://127.0.0.1", Authorization="Bearer " + "k" * 20, **headers) == [200] * 4
    )


def test_with_a_key_its_bearer_changes_items_from_anywhere(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "k" * 20
    monkeypatch.setenv("INTERLINGUA_KEY", key)
    assert statuses(session, "0.0.0.0", "http://shop.example", Authorization=f"Bearer {key}") == [200] * 4
    for wrong in (f"Bearer {key}x", key, f"bearer {key[:-1]}", "Bearer ", "Basic abc"):
        assert statuses(session, "127.0.0.1", "http://127.0.0.1", Authorization=wrong) == [401] * 4
    assert statuses(session, "127.0.0.1", "http://127.0.0.1") == [401] * 4
    for bad, why in {
        "short": "can be guessed",
        "0123456789abcdef-ß": "no header",
        "0123456789 abcdef": "no header",
    }.items():
        monkeypatch.setenv("INTERLINGUA_KEY", bad)
        with pytest.raises(ConfigError, match=why):
            ring_of()


def test_ids_are_in_the_answer_and_in_no_log(
    client: TestClient, session: Session, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    item = str(session.data.split.train.item_ids[3])
    sent = {"events": [{"user_id": "SECRETUSER", "item_id": one} for one in ("SECRETITEM", item)]}
    client.post("/v1/events", json=sent)
    for ask in ({"user_id": "SECRETUSER"}, {"history": ["SECRETITEM", item]}):
        for explain in (0, 2):
            answer = client.post("/v1/recommend", json=ask | {"k": 2, "explain": explain})
            assert "SECRETITEM" in answer.text
            assert [bool(one["reason"]) for one in answer.json()["items"]] == [bool(explain)] * 2
    assert "SECRET" not in "".join(capsys.readouterr()) + caplog.text


ODD = [("%00a", "NUL"), ("%ED%A0%80", "UTF-8"), ("x" * 501, "1 to 500 characters"), ("", "1 to 500 characters")]


@pytest.mark.parametrize("stored", [False, True])
def test_an_id_is_the_same_in_a_path_a_body_and_python(session: Session, tmp_path: Path, stored: bool) -> None:
    if stored:
        pytest.importorskip("sqlalchemy")
    made = interlingua.load(session, store=tmp_path / "s.db" if stored else None)
    before = made.train.num_items
    with TestClient(create_app(made)) as client:
        for path, said in ODD:
            for answer in (client.put(f"/v1/items/{path}", json=SPACE), client.delete(f"/v1/items/{path}")):
                assert answer.status_code == 422, path
                assert said in answer.json()["detail"]
        for odd in ("\0a", "x" * 501):
            events = [{"user_id": odd, "item_id": "a"}, {"user_id": "a", "item_id": odd}]
            for body in (*({"events": [each]} for each in events), {"events": [], "idempotency_key": odd}):
                assert client.post("/v1/events", json=body).status_code == 422
            assert client.post("/v1/items", json={"items": [SPACE | {"item_id": odd}]}).status_code == 422
            with pytest.raises(DataError, match=r"item 1 of 1: item_id is"):
                made.add_items([SPACE | {"item_id": odd}])
            for event in events:
                with pytest.raises(DataError, match=r"event 1: (user|item)_id is"):
                    made.add_events(event)
            with pytest.raises(DataError, match="idempotency_key is"):
                made.add_events({"user_id": "a", "item_id": "a"}, odd)
        assert made.train.num_items == before
        for path, name in (("a%0Ab", "a\nb"), ("a/b%2Fc", "a/b/c"), ("%EF%BF%BD", "\ufffd")):
            assert client.put(f"/v1/items/{path}", json=SPACE).json()["added"] == [name]
            assert client.post("/v1/items", json={"items": [SPACE | {"item_id": name}]}).json()["updated"] == [name]
            assert client.delete(f"/v1/items/{path}").json()["removed"] == [name]


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("blank", [" ", "\n", "\t", "\u2003"])
@pytest.mark.parametrize("end", [0, 1])
def test_new_ids_have_no_blanks_round_them_in_http_python_and_a_store(
    session: Session, tmp_path: Path, stored: bool, blank: str, end: int
) -> None:
    if stored:
        pytest.importorskip("sqlalchemy")
    made = interlingua.load(session, store=tmp_path / "s.db" if stored else None)
    odd, before = ("new" + blank, blank + "new")[end], made.train.num_items
    events = [{"user_id": odd, "item_id": "a"}, {"user_id": "a", "item_id": odd}]
    items = [SPACE | {"item_id": "fine"}, SPACE | {"item_id": odd}]
    with TestClient(create_app(made)) as client:
        assert client.post("/v1/items", json={"items": items}).status_code == 422
        for event in events:
            assert client.post("/v1/events", json={"events": [event]}).status_code == 422
    with pytest.raises(DataError, match="begins or ends with blanks"):
        made.add_items(items)
    for event in events:
        with pytest.raises(DataError, match=r"event 1 of 1: the (item|user).*begins or ends with blanks"):
            made.add_events(event)
    assert made.train.num_items == before
    with pytest.raises(UnknownIdError, match="'a'"):
        made.recommend("a")  # none of its events has come in


def test_an_unknown_item_of_which_nothing_is_said_is_refused(client: TestClient) -> None:
    nothing = [{}, {"title": None, "attributes": {"price": None}}, {"categories": [], "description": ""}]
    for body in [*nothing, {"available": False}]:
        refused = client.put("/v1/items/nobody", json=body)
        assert refused.status_code == 422
        assert refused.json()["detail"].startswith("the item 'nobody' is not known, and nothing is said of it: give a")
    several = client.post("/v1/items", json={"items": [SPACE | {"item_id": "n1"}, {"item_id": "n2", "title": None}]})
    assert several.status_code == 422
    assert first(client, history=[], items=["n1"]) == []  # all of them, or none
    own = first(client, history=[])[0]
    assert client.put(f"/v1/items/{own}", json={"description": None}).json()["updated"] == [own]
    assert client.put("/v1/items/n1", json=SPACE).json()["added"] == ["n1"]
    assert client.put("/v1/items/n1", json={"available": False}).json()["updated"] == ["n1"]


EVENT = {"user_id": "a", "item_id": "b"}


@pytest.mark.parametrize(
    ("method", "path", "body", "place", "said"),
    [
        ("POST", "/v1/recommend", {"history": [], "colour": 1}, ["colour"], "unknown field 'colour' in the body ("),
        ("POST", "/v1/recommend", {"k": 1, "kk": 1}, ["kk"], "unknown field 'kk' in the body; did you mean 'k'?"),
        (
            "POST", "/v1/events", {"events": [EVENT, EVENT | {"rating": 4}]}, ["events", 1, "rating"],
            "unknown field 'rating' in the body.events[1] (4 known: item_id, time, user_id, value)",
        ),
        (
            "POST", "/v1/items", {"items": [{"item_id": "a", "titel": "x"}]}, ["items", 0, "titel"],
            "unknown field 'titel' in the body.items[0]; did you mean 'title'? (6 known: attributes, available, "
            "categories, description, item_id, title)",
        ),
        ("PUT", "/v1/items/a", {"item_id": "a"}, ["item_id"], "unknown field 'item_id' in the body"),
    ],
)  # fmt: skip
def test_an_unknown_field_is_named_with_those_that_there_are(
    client: TestClient, method: str, path: str, body: object, place: list[object], said: str
) -> None:
    content = json.dumps(body).encode()
    refused = client.request(method, path, content=content, headers={"content-type": "application/json"})
    assert refused.status_code == 422
    (problem,) = refused.json()["detail"]
    assert (problem["type"], problem["loc"]) == ("extra_forbidden", ["body", *place])
    assert problem["msg"].startswith(said)


def test_what_of_an_event_no_list_reads_is_in_the_answer(client: TestClient, session: Session) -> None:
    event = {"user_id": "zoe", "item_id": "i00003"}
    times = session.data.card["time"]["kind"] == "seconds"
    answer = client.post("/v1/events", json={"events": [event, event | {"time": 1_700_000_000, "value": 1}]}).json()
    assert [note[:24] for note in answer["notes"]] == ([] if times else ["the time of 1 of 2 event"])
