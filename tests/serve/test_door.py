"""Before a request is read: Host names, binding, CORS, how often; and what is seen of it in headers, log and counts."""

from __future__ import annotations

import json
import logging
import logging.config
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from interlingua.cli.main import app as commands
from interlingua.errors import ConfigError
from interlingua.recommender import Recommender
from interlingua.runs.stages import run
from interlingua.serve.access import Access, check_binding
from interlingua.serve.app import create_app
from interlingua.serve.hosts import Hosts
from interlingua.serve.keyring import KeyRing
from interlingua.serve.keys import make_key
from interlingua.serve.logs import JsonLines, TextLines, log_config
from interlingua.serve.rates import Buckets, Rate

SHOP = make_key("shop", "read", rate="2/h")
PAGE = make_key("page", "write")


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
    session = run("itemknn", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=options, device="cpu")
    return Recommender.load(session.done["evaluate"].path)


@contextmanager
def service(
    recommender: Recommender, *keys: Any, base: str = "http://127.0.0.1", address: str = "10.0.0.1", **more: Any
) -> Iterator[TestClient]:
    access = Access(KeyRing([key for _, key in keys]), **more)
    with TestClient(create_app(recommender, access=access), base_url=base, client=(address, 5)) as client:
        yield client


def bearer(key: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {key[0]}"}


@pytest.mark.parametrize(
    ("bound", "more", "yes", "no"),
    [
        ("127.0.0.1", [], ["localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST", "127.0.0.1."],
         ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "a b", "x@127.0.0.1", "localhost:80:80", "[::1"]),
        ("0.0.0.0", [], ["192.168.1.7:8000", "[fe80::1]", "localhost"], ["shop.example", "0x7f.1.evil", "a.b.c.d"]),
        ("192.168.1.7", [], ["192.168.1.7", "localhost"], ["192.168.1.8", "shop.example"]),
        ("127.0.0.1", ["shop.example", "*.cdn.example"], ["Shop.Example:443", "a.cdn.example", "a.b.cdn.example"],
         ["cdn.example", "evilcdn.example", "xshop.example"]),
        ("127.0.0.1", ["*"], ["whatever.example"], []),
    ],
)  # fmt: skip
def test_names_that_are_answered(bound: str, more: list[str], yes: list[str], no: list[str]) -> None:
    hosts = Hosts(bound, more)
    assert [name for name in yes if not hosts.answers(name)] == []
    assert [name for name in no if hosts.answers(name)] == []


@pytest.mark.parametrize("name", ["shop.example:80", "http://shop.example", "a*.example", "*.", "*x", "", "a b"])
def test_a_name_that_no_header_can_carry_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="without port"):
        Hosts("127.0.0.1", [name])


def test_another_name_is_misdirected_except_for_being_alive(recommender: Recommender) -> None:
    with service(recommender, hosts=Hosts("127.0.0.1")) as client:
        assert client.post("/v1/recommend", json={"history": []}).status_code == 200
        for path in ("/v1/recommend", "/health/ready", "/docs", "/nowhere"):
            refused = client.get(path, headers={"Host": "evil.example:8000"})
            assert refused.status_code == 421
            assert "'evil.example'" in refused.json()["detail"]
            assert "--allow-host" in refused.json()["detail"]
        assert client.get("/health/ready", headers={"Host": "a b"}).status_code == 400
        assert client.get("/health/live", headers={"Host": "evil.example"}).status_code == 200


def test_other_machines_are_let_in_with_a_key_or_by_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    none, some = KeyRing(), KeyRing([PAGE[1]])
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        check_binding(none, host)
    for host in ("0.0.0.0", "::", "192.168.1.7", "shop.example", ""):
        check_binding(some, host)
        check_binding(none, host, allow_anyone=True)
        with pytest.raises(ConfigError, match=r"keys new .*--allow-anyone"):
            check_binding(none, host)
    for name in ("INTERLINGUA_KEY", "INTERLINGUA_KEYS"):
        monkeypatch.delenv(name, raising=False)
    refused = CliRunner().invoke(commands, ["serve", str(tmp_path / "no-run"), "--host", "0.0.0.0"])
    assert isinstance(refused.exception, ConfigError)
    assert "--allow-anyone" in str(refused.exception)  # before the run is read


def test_pages_of_other_origins_ask_where_they_are_named(recommender: Recommender) -> None:
    preflight = {
        "Origin": "https://shop.example", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }  # fmt: skip
    with service(recommender, SHOP) as client:
        assert client.options("/v1/recommend", headers=preflight).status_code == 405
        found = client.get("/health/live", headers={"Origin": "https://shop.example"})
        assert "access-control-allow-origin" not in found.headers
    with service(recommender, SHOP, origins=["https://shop.example"]) as client:
        asked = client.options("/v1/recommend", headers=preflight)
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == "https://shop.example"
        assert "access-control-allow-credentials" not in asked.headers
        refused = client.post("/v1/recommend", json={"history": []}, headers={"Origin": "https://shop.example"})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://shop.example"  # the page can read why
        other = client.options("/v1/recommend", headers=preflight | {"Origin": "https://evil.example"})
        assert other.status_code == 400
        assert "access-control-allow-origin" not in other.headers
    for wrong in ("shop.example", "https://shop.example/", "https://*.example", "null"):
        with pytest.raises(ConfigError, match="--cors-origin"):
            Access(KeyRing(), origins=[wrong])


@pytest.mark.parametrize("text", ["100", "100/d", "0/s", "-1/s", "1.5/s", "1/ms", "s/1", ""])
def test_a_rate_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match="write requests per time as 100/s"):
        Rate.parse(text)


def test_a_bucket_is_full_at_first_and_filled_evenly() -> None:
    now = [0.0]
    buckets, rate = Buckets(most=3, clock=lambda: now[0]), Rate.parse("60/min")
    assert [buckets.take("a", rate) for _ in range(60)] == [0.0] * 60
    assert buckets.take("a", rate) == pytest.approx(1.0)
    assert buckets.take("b", rate) == 0.0
    now[0] = 0.5
    assert buckets.take("a", rate) == pytest.approx(0.5)  # to be refused costs nothing
    now[0] = 1.0
    assert buckets.take("a", rate) == 0.0
    assert buckets.take("a", rate) == pytest.approx(1.0)
    now[0] = 1e6
    assert [buckets.take("a", rate) for _ in range(61)][58:] == [0.0, 0.0, pytest.approx(1.0)]
    for number in range(1000):
        buckets.take(f"x{number}", rate)
    assert len(buckets) == 3


def test_each_key_and_each_address_has_a_rate(recommender: Recommender) -> None:
    ask = {"json": {"history": []}}
    with service(recommender, SHOP, PAGE, rate=Rate.parse("3/h"), open_metrics=True) as client:
        found = [client.post("/v1/recommend", **ask, headers=bearer(SHOP)).status_code for _ in range(3)]
        assert found == [200, 200, 429]  # the key's own rate
        assert [client.post("/v1/recommend", **ask, headers=bearer(PAGE)).status_code for _ in range(4)] == [
            200, 200, 200, 429
        ]  # fmt: skip
        wrong = [client.post("/v1/recommend", **ask, headers={"Authorization": f"Bearer x{n}"}) for n in range(4)]
        assert [one.status_code for one in wrong] == [401, 401, 401, 429]  # guesses count for their address
        assert 1 <= int(wrong[-1].headers["retry-after"]) <= 1200
        assert "3/h from this address" in wrong[-1].json()["detail"]
        assert client.get("/health/ready").status_code == 200
        assert client.get("/metrics").status_code == 429
        counts = client.app.state.counts.text().decode()
    for role, number in {"read": 1, "write": 1, "none": 2, "admin": 0}.items():
        assert f'interlingua_rate_limited_total{{role="{role}"}} {number}.0' in counts


def test_a_network_of_ipv6_is_one_address(recommender: Recommender) -> None:
    one = Access(KeyRing(), rate=Rate.parse("1/h"))
    app = create_app(recommender, access=one)
    expected = {"2001:db8::1": 200, "2001:db8::2": 429, "2001:db8:0:1::1": 200, "::ffff:10.0.0.1": 200, "10.0.0.1": 429}
    with TestClient(app):
        for address, status in expected.items():
            client = TestClient(app, base_url="http://127.0.0.1", client=(address, 5))
            assert client.get("/openapi.json").status_code == status, address


def test_every_answer_has_an_id_and_safe_headers(recommender: Recommender) -> None:
    with service(recommender, SHOP) as client:
        for path in ("/health/live", "/nowhere", "/v1/recommend", "/openapi.json"):
            found = client.get(path)
            assert len(found.headers["x-request-id"]) == 16
            assert found.headers["content-security-policy"].startswith("default-src 'self'; ")
            assert found.headers["x-content-type-options"] == "nosniff"
        assert client.get("/v1/x").headers["cache-control"] == "no-store"
        own = "order-17:a/b"
        assert client.get("/health/live", headers={"X-Request-Id": own}).headers["x-request-id"] == own
        for odd in ("", "a b", 'x"y', "a" * 129, "é".encode()):
            assert len(client.get("/health/live", headers={"X-Request-Id": odd}).headers["x-request-id"]) == 16


class Broken(Recommender):
    def answer(self, *_: Any, **__: Any) -> Any:
        raise KeyError("SECRET-USER")

    answers = answer


def lines(caplog: pytest.LogCaptureFixture, formatter: logging.Formatter) -> list[str]:
    return [formatter.format(each) for each in caplog.records if each.name == "interlingua.serve.requests"]


def test_a_request_is_one_line_without_what_it_says(recommender: Recommender, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "interlingua.serve")
    with service(recommender, SHOP, PAGE) as client:
        body = {"user_id": "SECRET-USER", "k": 1}
        client.post("/v1/recommend?a=SECRET-QUERY", json=body, headers={**bearer(SHOP), "X-Request-Id": "r1"})
        client.put("/v1/items/SECRET-ITEM", json={"title": "SECRET-TITLE"}, headers=bearer(PAGE))
        client.get("/SECRET-PATH", headers={"Authorization": "Bearer SECRET-KEY"})
    first, second, third = map(json.loads, lines(caplog, JsonLines()))
    assert first.pop("time").endswith("Z")
    assert first.pop("ms") > 0
    assert first == {
        "level": "info", "event": "request", "id": "r1", "method": "POST", "route": "/v1/recommend", "status": 404,
        "key": "shop", "model": recommender.version,
    }  # fmt: skip
    assert (second["route"], second["status"], second["key"]) == ("/v1/items/{item_id:rest}", 422, "page")
    assert (third["route"], third["status"], third["key"]) == ("unknown", 404, None)
    assert "SECRET" not in "".join(lines(caplog, JsonLines()) + lines(caplog, TextLines()))
    assert SHOP[0] not in caplog.text
    assert " request id=r1 method=POST route=/v1/recommend status=404 " in lines(caplog, TextLines())[0]


def test_what_breaks_is_answered_with_its_id_and_logged_by_place(
    recommender: Recommender, caplog: pytest.LogCaptureFixture
) -> None:
    with TestClient(create_app(Recommender.load(recommender.session.done["evaluate"].path))) as client:
        client.app.state.model.now.__class__ = Broken
        found = client.post("/v1/recommend", json={"history": []}, headers={"X-Request-Id": "r2"})
        assert found.status_code == 500
        assert found.json()["request_id"] == "r2"
        assert "SECRET" not in found.text
        assert 'interlingua_requests_total{route="/v1/recommend",status="500"} 1' in client.get("/metrics").text
    (line,) = map(json.loads, lines(caplog, JsonLines()))
    assert (line["level"], line["status"], line["id"], line["error"]) == ("error", 500, "r2", "KeyError")
    assert line["at"][0].startswith("serve/test_door.py:")
    assert "SECRET" not in caplog.text


def test_uvicorn_s_messages_have_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    before = {name: logging.getLogger(name).handlers[:] for name in ("uvicorn", "uvicorn.error", "interlingua.serve")}
    try:
        logging.config.dictConfig(log_config("json"))
        try:
            raise ValueError("SECRET")
        except ValueError:
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
        logging.getLogger("uvicorn.access").info('10.0.0.1 - "GET /v1/items/SECRET"')
        (line,) = capsys.readouterr().err.splitlines()
        assert json.loads(line)["error"] == "ValueError"
        assert "SECRET" not in line
    finally:
        for name, handlers in before.items():
            logger = logging.getLogger(name)
            logger.handlers[:], logger.propagate = handlers, True
            logger.setLevel(logging.NOTSET)


def test_counts_of_what_was_put_in_of_waiting_and_of_swaps(recommender: Recommender) -> None:
    made = Recommender.load(recommender.session.done["evaluate"].path)
    with TestClient(create_app(made)) as client:
        item = str(made.train.item_ids[0])
        client.post("/v1/events", json={"events": [{"user_id": "zoe", "item_id": item}] * 2})
        client.delete(f"/v1/items/{item}")
        client.app.state.model._counts.model("another")
        text = client.get("/metrics").text
    assert "interlingua_events_total 2.0" in text
    assert 'interlingua_items_total{change="removed"} 1.0' in text
    assert "interlingua_queue_length 0.0" in text
    assert "interlingua_queue_seconds_count 2.0" in text
    assert "interlingua_model_swaps_total 1.0" in text
    assert 'interlingua_requests_by_role_total{role="none"} 2.0' in text
