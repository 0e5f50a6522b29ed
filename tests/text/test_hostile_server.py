"""A server that means harm: it wants to be waited for, to fill the memory, to end the job, or to have the key kept."""

from __future__ import annotations

import base64
import json
import sys
import time
import tracemalloc
import zlib
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlingua.cli import main as command
from interlingua.clients.answers import object_in
from interlingua.clients.asking import ServerError, run
from interlingua.clients.completion import CallError, Request, Sampling
from interlingua.clients.endpoint import Endpoint
from interlingua.clients.pace import Limits, Pace, WaitError
from interlingua.clients.redact import MASK, PART, Redactor
from interlingua.config import build
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError
from interlingua.profiles.config import ProfilesConfig
from interlingua.profiles.write import Job, write
from interlingua.testing.fake_server import ENCODINGS, ENDLESS, FakeServer, serving
from interlingua.text.http import HttpConfig, encode_texts

KEY = "sk-Never+Written/anywhere=4711"
QUICK = {"timeout_s": 5.0, "backoff_s": 0.01, "backoff_max_s": 0.02, "concurrency": 4, "tries": 2}
MB = 1 << 20


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)


def written(url: str, out: Path, **changes: Any) -> Any:
    values = {"model": "fake", "base_url": url, "key_variable": "FAKE_KEY", "limits": QUICK} | changes
    options = build(ProfilesConfig, values)
    world = generate(num_users=6, num_items=14, seed=3, history=5)
    endpoint = Endpoint(url, "fake", key_variable="FAKE_KEY", timeout_s=options.limits.timeout_s)
    return write(Job(world, options, out, sides="items"), endpoint)


def one_answer(url: str) -> Any:
    async def ask() -> Any:
        endpoint = Endpoint(url, "fake", key_variable="FAKE_KEY", timeout_s=5.0)
        try:
            return await endpoint.complete(Request("be brief", "say something", ("a",)), Sampling())
        finally:
            await endpoint.close()

    return run(ask())


def number(text: str) -> int:
    return zlib.crc32(text.split("\n\nAnswer with")[0].encode())


@pytest.mark.parametrize("wish", ["999999999", "1e300", "inf", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_server_that_wants_to_be_waited_for_is_left(wish: str, tmp_path: Path) -> None:
    server = FakeServer(lambda _text, before: "good" if before else f"wait-{wish}")
    started = time.monotonic()
    with serving(server) as url:
        made = written(url, tmp_path)
        assert time.monotonic() - started < 5
        assert "retry_after_max_s" in made.card["stopped"]
        assert "failed" not in set(made.items["status"])
        server.manner = lambda *_: "good"
        assert set(written(url, tmp_path).items["status"]) == {"written"}


def test_vectors_are_not_waited_for_either(tmp_path: Path) -> None:
    config = build(
        HttpConfig, {"base_url": "x", "model": "enc", "key_variable": "FAKE_KEY", "limits": QUICK | {"tries": 9}}
    )
    with serving(FakeServer(lambda *_: "wait-999999999")) as url, pytest.raises(ServerError, match="retry_after_max_s"):
        encode_texts(config.model_copy(update={"base_url": url}), ["one", "two"], tmp_path)


def test_waiting_without_any_answer_ends_and_an_answer_starts_it_anew() -> None:
    now, waits = [0.0], deque[float]()

    async def sleep(seconds: float) -> None:
        now[0] += seconds
        waits.append(seconds)

    pace = Pace(
        build(Limits, {"waiting_max_s": 1000.0, "retry_after_max_s": 300.0}), lambda: now[0], sleep, lambda: 0.0
    )

    async def refused(times: int) -> None:
        for _ in range(times):
            await pace.after_failure(1, 300.0)

    run(refused(3))
    pace.answered()
    run(refused(3))
    with pytest.raises(WaitError, match="waiting_max_s"):
        run(refused(1))
    assert sum(waits) == 1800


@pytest.mark.parametrize("manner", ["deep-20", "deep-5000", "deep-300000"])
def test_deep_json_is_a_failed_call_not_the_end(manner: str, tmp_path: Path) -> None:
    server = FakeServer(lambda text, _: "good" if number(text) % 2 else manner)
    with serving(server) as url:
        made = written(url, tmp_path)
    assert {"failed", "written"} == set(made.items["status"])


BODIES = [
    "", "null", "[]", "3", '"text"', "{}", '{"choices": null}', '{"choices": {}}', '{"choices": {"a": 1}}',
    '{"choices": "abc"}', '{"choices": [null]}', '{"choices": [[]]}', '{"choices": [{}]}',
    '{"choices": [{"message": "x"}]}',
    '{"choices": [{"message": {"content": 3}}]}',
    '{"choices": [{"message": {"content": ""}, "finish_reason": {"a": []}}]}',
    '{"choices": [{"message": {"content": "ok"}}], "usage": [1]}',
    '{"choices": [{"message": {"content": null, "refusal": [1]}}]}',
    '{"choices": [{"message": {"content": "ok"}}], "usage": {"prompt_tokens": "many", "completion_tokens": 1e999}}',
    '{"data": null}', '{"data": [{"index": "a"}, {"index": 1}]}', '{"data": {"a": 1}}',
    '{"data": [{"index": 0, "embedding": [1e999]}]}', '{"data": [{"index": 0, "embedding": ["x"]}]}',
    '{"data": [{"index": 0, "embedding": [' + "1" * 400 + "]}]}", '{"data": [{"index": 0, "embedding": {"a": 1}}]}',
]  # fmt: skip


def test_whatever_json_comes_is_an_answer_or_a_failed_call() -> None:
    body = [""]

    async def ask(url: str) -> None:
        endpoint = Endpoint(url, "fake", key_variable="FAKE_KEY", timeout_s=5.0)
        try:
            for body[0] in BODIES:
                for call in (endpoint.complete(Request("s", body[0]), Sampling()), endpoint.embed([body[0] or "x"])):
                    try:
                        got = await call
                    except CallError:
                        continue
                    assert getattr(got, "text", "") == "ok", (body[0], got)
        finally:
            await endpoint.close()

    with serving(FakeServer(lambda *_: f"body-{body[0]}")) as url:
        run(ask(url))


@pytest.mark.parametrize("manner", ["bomb", "announced", "endless"])
def test_a_huge_reply_is_refused_before_it_is_read(manner: str) -> None:
    server = FakeServer(lambda *_: manner)
    with serving(server) as url:
        if manner == "bomb":
            from interlingua.testing.fake_server import bomb

            bomb()
        tracemalloc.start()
        try:
            with pytest.raises(CallError, match=r"more than 4,194,304|compressed"):
                one_answer(url)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 40 * MB
    assert server.sent < ENDLESS / 2


def test_counts_and_halves_of_characters_do_not_end_the_job(tmp_path: Path) -> None:
    server = FakeServer()
    server.prompt_tokens, server.completion_tokens = 10**400, -5
    with serving(server) as url:
        assert set(written(url, tmp_path).items["status"]) == {"written"}
    answer = Endpoint("http://localhost:1/v1", "m", key_variable="FAKE_KEY").clean("a \ud800 b")
    assert answer.encode() == b"a ? b"


def test_blocks_of_thinking_that_never_end_are_quick() -> None:
    started = time.monotonic()
    assert object_in("<think>" * 100_000 + '{"summarization": "x"}') == {"summarization": "x"}
    assert time.monotonic() - started < 2
    assert object_in('<think>{"a": "b"}</think>{"c": "d"}<THINK>x</THINK>') == {"c": "d"}


def held(data: bytes) -> list[str]:
    """Encodings of a part of the key that stand in some bytes."""
    low = data.lower()
    part = KEY[4 : 4 + PART]
    found = [name for name in ("plain", "hex", "percent", "backwards") if ENCODINGS[name](part).lower().encode() in low]
    for shift in range(3):
        inner = base64.b64encode(b"\0" * shift + KEY.encode()).decode().rstrip("=")[4:-4]
        found += [f"base64 {shift}"] if inner[:12].lower().encode() in low else []
    return found


@pytest.mark.parametrize("way", sorted(ENCODINGS))
def test_the_key_is_kept_in_no_encoding(way: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    server = FakeServer(lambda _text, before: f"echo-{way}")
    with serving(server) as url:
        made = written(url, tmp_path)
    assert set(made.items["status"]) == {"written"}
    assert all(MASK in text for text in made.items["profile"])
    assert all(text.startswith("Likes tea, ") for text in made.items["profile"])
    out = capfd.readouterr()
    kept = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} | {
        "said": str(out).encode()
    }
    assert {"ledger.sqlite", "items.parquet", "card.json"} <= set(kept)
    for name, data in (kept | {"table": json.dumps(made.items.to_dicts()).encode()}).items():
        assert not held(data), (name, held(data))


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30), st.data())
def test_any_part_of_any_key_goes_and_the_rest_stays(around: str, data: st.DataObject) -> None:
    secret = data.draw(st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN0123456789-_+/=.", min_size=PART, max_size=60))
    start = data.draw(st.integers(0, len(secret) - PART))
    part = secret[start : data.draw(st.integers(start + PART, len(secret)))]
    way = data.draw(st.sampled_from([name for name in ENCODINGS if name not in ("half", "escaped")]))
    told = ENCODINGS[way](part)
    cleaned = Redactor(secret).clean(f"{around}\n{told}\n{around}")
    assert MASK in cleaned
    assert ENCODINGS["plain"](part) not in cleaned.replace(MASK, "") or part in around
    redactor = Redactor(secret)
    assert redactor.clean(cleaned) == cleaned
    if not any(redactor.clean(text) != text for text in (around, f"{around}\n", f"\n{around}")):
        assert cleaned.startswith(around)


def test_a_text_without_the_key_is_not_touched() -> None:
    text = "People who like İstanbul, sk-something else, and 4711 other things " * 50
    assert Redactor(KEY).clean(text) == text
    assert Redactor("").clean(text) == text
    assert Redactor("abc").clean("abc") == "abc"
    assert Redactor("hunter2").clean("my HUNTER2 is") == f"my {MASK} is"


def test_a_key_inside_the_address_or_the_models_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_KEY", "secret-path-part")
    for url, model in (("https://x.org/secret-path-part/v1", "m"), ("https://x.org/v1", "secret-path-part")):
        with pytest.raises(ConfigError, match="holds the key"):
            Endpoint(url, model, key_variable="FAKE_KEY")


def commanded(url: str, out: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    arguments = [
        "interlingua", "profiles", "itemknn", "--data", "planted", "--out", str(out), "--side", "items",
        "--set", "data.options={num_users = 40, num_items = 30}", "--base-url", url, "--model", "fake",
        "--key-variable", "FAKE_KEY", *options,
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        command.main()
    return int(ended.value.code or 0)


def test_the_exit_code_says_whether_enough_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    share = [0.0]
    server = FakeServer(lambda text, _: "good" if number(text) % 100 < share[0] else "none")
    with serving(server) as url:
        assert commanded(url, tmp_path / "nothing", monkeypatch, "--least", "0") == 1
        assert "0 of 29 profiles were written" in capsys.readouterr().err
        share[0] = 100.0
        assert commanded(url, tmp_path / "all", monkeypatch) == 0
        share[0] = 50.0
        some = commanded(url, tmp_path / "some", monkeypatch, "--least", "0.01")
        assert (some, commanded(url, tmp_path / "some", monkeypatch, "--least", "0.95")) == (0, 1)
        assert commanded(url, tmp_path / "sample", monkeypatch, "--sample", "5", "--least", "0.01") in (0, 1)
    assert "--least" in capsys.readouterr().err
