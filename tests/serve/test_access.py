"""Roles over HTTP: who may ask, change, see counts; every route says what it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from interlingua.errors import ConfigError
from interlingua.recommender import Recommender
from interlingua.runs.stages import run
from interlingua.serve.access import Access, needs
from interlingua.serve.app import create_app
from interlingua.serve.keyring import KeyRing
from interlingua.serve.keys import make_key

KEYS = {role: make_key(f"a-{role}", role) for role in ("read", "write", "admin")}
LOCAL = "http://127.0.0.1:8000"
ASK = ("POST", "/v1/recommend", {"history": [], "k": 1})
CHANGE = ("POST", "/v1/events", {"events": [{"user_id": "zoe", "item_id": "i"}]})
COUNTS = ("GET", "/metrics", None)
MODELS = ("POST", "/v1/models/x", None)
ALWAYS = [("GET", path, None) for path in ("/health/live", "/health/ready", "/openapi.json", "/docs")]


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
    session = run("itemknn", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=options, device="cpu")
    return Recommender.load(session.done["evaluate"].path)


def service(recommender: Recommender, *roles: str, host: str = "0.0.0.0", **more: bool) -> FastAPI:
    app = create_app(recommender, access=Access(KeyRing([KEYS[role][1] for role in roles]), host, **more))
    app.add_api_route("/v1/models/x", lambda: {}, methods=["POST"], dependencies=[Depends(needs("admin"))])
    return app


def bearer(role: str | None) -> dict[str, str]:
    return {} if role is None else {"Authorization": f"Bearer {KEYS[role][0]}"}


def statuses(app: FastAPI, role: str | None, *requests: tuple, base: str = "http://shop.example") -> list[int]:
    with TestClient(app, base_url=base) as client:
        return [
            client.request(verb, path, json=body, headers=bearer(role)).status_code for verb, path, body in requests
        ]


@pytest.mark.parametrize(
    ("roles", "role", "expected"),  # of ASK, CHANGE, COUNTS, MODELS
    [
        (("read", "write", "admin"), None, [401, 401, 401, 401]),
        (("read", "write", "admin"), "read", [200, 403, 200, 403]),
        (("read", "write", "admin"), "write", [200, 200, 200, 403]),
        (("read", "write", "admin"), "admin", [200, 200, 200, 200]),
        (("write",), None, [200, 401, 200, 401]),
        (("write",), "read", [200, 401, 200, 401]),  # a key that this service does not know
        (("read",), "read", [200, 403, 200, 403]),
        ((), None, [200, 403, 200, 403]),
    ],
)
def test_a_role_includes_those_before_it(
    recommender: Recommender, roles: tuple[str, ...], role: str | None, expected: list[int]
) -> None:
    found = statuses(service(recommender, *roles), role, ASK, CHANGE, COUNTS, MODELS, *ALWAYS)
    assert found == expected + [200] * len(ALWAYS)


@pytest.mark.parametrize(
    ("roles", "role", "expected"),
    [
        (("write",), None, 401),
        (("write",), "write", 200),
        (("read",), None, 401),
        (("read",), "read", 200),
        ((), None, 403),
    ],
)
def test_users_and_their_histories_are_never_open_to_strangers(
    recommender: Recommender, roles: tuple[str, ...], role: str | None, expected: int
) -> None:
    people = ("POST", "/v1/page/users", {}), ("POST", "/v1/page/user", {"user_id": "u00001"})
    assert statuses(service(recommender, *roles), role, *people) == [expected, expected]


def test_without_any_key_this_machine_may_all_and_with_one_it_is_asked(recommender: Recommender) -> None:
    here = service(recommender, host="127.0.0.1")
    with TestClient(here, base_url=LOCAL) as client:
        for verb, path, body in (ASK, CHANGE, COUNTS, MODELS):
            assert client.request(verb, path, json=body).status_code == 200
        for site, expected in {"cross-site": 403, "same-site": 403, "same-origin": 200, "none": 200}.items():
            sent = client.post(CHANGE[1], json=CHANGE[2], headers={"Sec-Fetch-Site": site})
            assert sent.status_code == expected
    read = service(recommender, "read", host="127.0.0.1")
    assert statuses(read, None, ASK, CHANGE, COUNTS, MODELS, base=LOCAL) == [401] * 4


def test_questions_can_be_closed_and_counts_opened(recommender: Recommender) -> None:
    for role, status in {None: 401, "write": 200}.items():
        closed = service(recommender, "write", require_key=True)
        assert statuses(closed, role, ASK, COUNTS) == [status] * 2
    opened = service(recommender, "read", open_metrics=True)
    assert statuses(opened, None, ASK, COUNTS) == [401, 200]
    with pytest.raises(ConfigError, match="keys new --role read"):
        Access(KeyRing(), require_key=True)


def test_a_refusal_says_what_is_needed_and_no_key(recommender: Recommender) -> None:
    with TestClient(service(recommender, "read", "write")) as client:
        low = client.post(CHANGE[1], json=CHANGE[2], headers=bearer("read"))
        assert low.json()["detail"] == "the key 'a-read' has the role read, and this needs the role write"
        none = client.post(CHANGE[1], json={"a": "body that is wrong too"}, headers={"Authorization": "Bearer wrong"})
        assert none.status_code == 401
        assert none.headers["www-authenticate"] == "Bearer"
        assert "wrong" not in none.text
        twice = [("Authorization", f"Bearer {KEYS['write'][0]}"), ("Authorization", "Bearer x")]
        assert client.post(CHANGE[1], json=CHANGE[2], headers=twice).status_code == 401
        assert client.post(CHANGE[1], json=CHANGE[2], headers={"Authorization": b"Bearer \xff\xfe"}).status_code == 401
        lower = {"Authorization": f"bearer  {KEYS['write'][0]}"}
        assert client.post(CHANGE[1], json=CHANGE[2], headers=lower).status_code == 200


OPEN = {"/health/live", "/health/ready"}


def test_every_route_says_in_the_schema_that_it_needs_a_key(recommender: Recommender) -> None:
    """A route that was forgotten would be open to everybody."""
    schema = service(recommender).openapi()
    assert schema["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, verbs in schema["paths"].items():
        for verb, route in verbs.items():
            if path in OPEN:
                assert "security" not in route
            else:
                ((role,),) = [each["key"] for each in route["security"]]
                assert role in ("read", "write", "admin"), (verb, path)


def test_a_revoked_key_ends_at_once_for_a_running_service(recommender: Recommender, tmp_path: Path) -> None:
    from interlingua.serve.keys import editing, revoke

    path, now = tmp_path / "keys.toml", [0.0]
    with editing(path) as keys:
        keys.append(KEYS["read"][1])
    app = create_app(recommender, access=Access(KeyRing(file=path, clock=lambda: now[0])))
    with TestClient(app) as client:
        assert client.post(ASK[1], json=ASK[2], headers=bearer("read")).status_code == 200
        revoke(path, "a-read")
        now[0] += 1
        assert client.post(ASK[1], json=ASK[2], headers=bearer("read")).status_code == 401
        assert client.post(ASK[1], json=ASK[2]).status_code == 401
