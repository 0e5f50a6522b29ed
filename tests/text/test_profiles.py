"""Profiles against a server that misbehaves in every way: nothing lost, nothing bought twice, no secret written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from interlingua.clients.asking import ServerError
from interlingua.clients.endpoint import Endpoint
from interlingua.config import build
from interlingua.data.prepare import SplitConfig, prepare
from interlingua.data.prepared import Dataset
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError, DataError
from interlingua.profiles.config import ProfilesConfig
from interlingua.profiles.estimate import estimate
from interlingua.profiles.inputs import Inputs, read_reviews
from interlingua.profiles.store import load
from interlingua.profiles.write import Job, write
from interlingua.testing.fake_server import GOOD, FakeServer, profile_for, serving

KEY = "sk-never-written-anywhere-4711"
PRICES = {"models": {"fake": {"input": 10.0, "output": 20.0}}}
QUICK = {"timeout_s": 0.5, "backoff_s": 0.02, "backoff_max_s": 0.1, "concurrency": 6}


@pytest.fixture(scope="module")
def world() -> Dataset:
    return generate(num_users=18, num_items=24, seed=3, history=8)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)


def config_of(url: str, **changes: Any) -> ProfilesConfig:
    values = {"model": "fake", "base_url": url, "key_variable": "FAKE_KEY", "limits": QUICK, "prices": PRICES}
    return build(ProfilesConfig, values | changes)


def asked(world: Dataset, url: str, out: Path, config: dict[str, Any] | None = None, **job: Any) -> Any:
    options = config_of(url, **(config or {}))
    return write(Job(world, options, out, **job), endpoint(options))


def endpoint(options: ProfilesConfig) -> Endpoint:
    assert options.base_url is not None
    return Endpoint(
        options.base_url, options.model, key_variable=options.key_variable,
        timeout_s=options.limits.timeout_s, structured=options.structured,
    )  # fmt: skip


def test_items_come_first_and_users_read_their_train_items_profiles(world: Dataset, tmp_path: Path) -> None:
    server = FakeServer()
    with serving(server) as url:
        made = asked(world, url, tmp_path)
    train = world.split.train
    assert made.items["item_id"].to_list() == train.item_ids.tolist()
    assert made.users["user_id"].to_list() == train.user_ids.tolist()
    assert set(made.items["status"]) == set(made.users["status"]) == {"written"}
    first_user = next(n for n, (text, _) in enumerate(server.calls) if text.startswith("["))
    assert all(text.startswith("[") for text, _ in server.calls[first_user:])
    profiles = dict(zip(made.items["item_id"], made.items["profile"], strict=True))
    titles = dict(zip(train.item_ids.tolist(), world.catalogue.titles, strict=True))
    shown = {text: json.loads(text) for text, _ in server.calls[first_user:]}
    for row, (_ident, sources) in enumerate(zip(made.users["user_id"], made.users["sources"], strict=True)):
        history = set(train.item_ids[train.history(row)].tolist())
        assert len(sources) == min(6, len(history))
        assert set(sources) <= history
        entries = [{"title": titles[i], "description": profiles[i], "review": "None"} for i in sources]
        assert entries in shown.values()


def test_no_prompt_and_no_source_holds_a_held_out_item(world: Dataset, tmp_path: Path) -> None:
    inputs = Inputs(world, ProfilesConfig(sample_items=100), seed=1)
    texts = {row: f"profile of {row}" for row in range(world.split.train.num_items)}
    for part in (world.split.valid, world.split.test):
        for position, user in enumerate(part.users.tolist()):
            held = set(part.of_row(position).tolist()) - set(world.split.train.history(user).tolist())
            assert not held & set(inputs.user_items(user))
            shown = [entry["description"] for entry in json.loads(inputs.user(user, texts).payload)]
            assert not {f"profile of {row}" for row in held} & set(shown)


MANNERS = ("429", "500", "hang", "drop", "truncated", "cut", "prose", "fenced", "chatty", "cut-late", "good")


def test_through_every_trouble_nothing_is_lost_and_nothing_is_bought_twice(world: Dataset, tmp_path: Path) -> None:
    """Each question meets one trouble first, some a second one; every entity gets its own answer all the same."""

    def manner(text: str, before: int) -> str:
        number = zlib.crc32(text.encode())
        return MANNERS[(number // (1 + 6 * before)) % len(MANNERS)] if before < 2 else "good"

    server = FakeServer(manner)
    with serving(server) as url:
        made = asked(world, url, tmp_path)
        assert {m for _, m in server.calls} >= set(MANNERS)
        assert made.card["coverage"]["items"]["share_written"] == 1.0
        assert made.card["coverage"]["users"]["share_written"] == 1.0
        assert set(server.good().values()) == {1}
        for text in server.questions:
            expected = profile_for(text)["summarization"]
            assert expected in made.items["profile"].to_list() + made.users["profile"].to_list()
        before = len(server.calls)
        again = asked(world, url, tmp_path)
        assert len(server.calls) == before
    assert again.items.equals(made.items)
    assert again.users.equals(made.users)
    assert again.card["questions"]["items"]["asked"] == 0


def test_a_servers_wish_to_wait_is_kept_by_all_calls(world: Dataset, tmp_path: Path) -> None:
    server = FakeServer(lambda _text, before: "429" if before == 0 else "good")
    with serving(server) as url:
        asked(world, url, tmp_path, {"limits": QUICK | {"concurrency": 1}}, sides="items", sample=3)
    refused = [when for (_, m), when in zip(server.calls, server.times, strict=True) if m == "429"]
    after = [next(t for t in server.times if t > when) for when in refused]
    assert all(later - when >= 0.2 for when, later in zip(refused, after, strict=True))


def test_failures_keep_their_reason_and_a_fallback_and_are_asked_again_on_demand(
    world: Dataset, tmp_path: Path
) -> None:
    title = world.catalogue.titles[4]
    bad = {"prose"}
    server = FakeServer(lambda text, _: "prose" if bad and text.startswith("{") and title in text else "good")
    with serving(server) as url:
        made = asked(world, url, tmp_path)
        row = made.items.row(4, named=True)
        assert row["status"] == "failed"
        assert "no JSON object" in row["reason"]
        assert title in row["profile"]
        assert made.card["coverage"]["items"] == {
            "written": 23, "failed": 1, "unasked": 0, "empty": 0, "share_written": 0.9583,
        }  # fmt: skip
        assert made.card["failures"]["items"][0]["id"] == row["item_id"]
        calls = len(server.calls)
        asked(world, url, tmp_path)
        assert len(server.calls) == calls  # failures are not asked again by themselves
        bad.clear()
        whole = asked(world, url, tmp_path, retry_failed=True)
        asked_again = [text for text, _ in server.calls[calls:]]
    assert whole.items.row(4, named=True)["status"] == "written"
    item_questions = [text for text in asked_again if text.startswith("{")]
    assert len(item_questions) == 1
    assert title in item_questions[0]
    # users whose prompt held the fallback text are written anew, nobody else
    changed = {u for u, s in zip(made.users["user_id"], made.users["sources"], strict=True) if row["item_id"] in s}
    assert len(asked_again) - 1 == len(changed)


def test_what_the_model_cannot_say_is_a_failure_not_a_profile(world: Dataset, tmp_path: Path) -> None:
    with serving(FakeServer(lambda *_: "none")) as url:
        made = asked(world, url, tmp_path, {"limits": QUICK | {"give_up_after": 100}}, sides="items")
    assert set(made.items["status"]) == {"failed"}
    assert made.items["reason"].str.contains("nothing to say").all()
    assert made.items["profile"].str.len_chars().min() > 0


def test_a_wrong_key_stops_at_once_and_marks_nobody_as_failed(world: Dataset, tmp_path: Path) -> None:
    server = FakeServer(lambda *_: "401")
    with serving(server) as url, pytest.raises(ServerError, match="401") as caught:
        asked(world, url, tmp_path)
    assert KEY not in str(caught.value)
    assert len(server.calls) <= QUICK["concurrency"]
    assert set(load(tmp_path).items["status"]) == {"unasked"}


def test_a_server_that_fails_everything_is_left_in_peace(world: Dataset, tmp_path: Path) -> None:
    server = FakeServer(lambda *_: "400")
    with serving(server) as url:
        made = asked(world, url, tmp_path, {"limits": QUICK | {"give_up_after": 5}})
    assert len(server.calls) <= 5 + QUICK["concurrency"]
    assert "in a row failed" in made.card["stopped"]


@pytest.mark.parametrize("refused", [("json_schema",), ("json_schema", "json_object")])
def test_structured_output_falls_back_to_what_the_server_has(
    world: Dataset, tmp_path: Path, refused: tuple[str, ...]
) -> None:
    server = FakeServer()
    server.refused_formats = refused
    with serving(server) as url:
        made = asked(world, url, tmp_path, sides="items")
    assert made.card["coverage"]["items"]["share_written"] == 1.0
    kinds = {body.get("response_format", {}).get("type", "none") for body in server.bodies}
    assert kinds == {"json_object" if len(refused) == 1 else "none"}


def test_the_schema_is_asked_for_where_the_server_takes_it(world: Dataset, tmp_path: Path) -> None:
    server = FakeServer()
    with serving(server) as url:
        asked(world, url, tmp_path, sides="items", sample=1)
    schema = server.bodies[0]["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["summarization", "reasoning"]


def test_the_budget_is_never_exceeded_and_more_money_continues(world: Dataset, tmp_path: Path) -> None:
    server = FakeServer()
    cost = (100 * 10.0 + 50 * 20.0) / 1e6
    small = {"sampling": {"max_tokens": 60}}
    with serving(server) as url:
        made = asked(world, url, tmp_path, small, budget=10.5 * cost)
        spent = made.card["cost"]["ledger"]["money"]
        assert made.card["stopped"] == "budget"
        assert spent == pytest.approx(len(server.calls) * cost)
        assert 0 < spent <= 10.5 * cost
        assert set(made.users["status"]) == {"unasked"}
        same = len(server.calls)
        asked(world, url, tmp_path, small, budget=10.5 * cost)
        assert len(server.calls) - same <= 10.5 - same  # a second run does not get the budget anew
        made = asked(world, url, tmp_path, small, budget=1000 * cost)
    assert made.card["stopped"] == ""
    assert set(made.users["status"]) == {"written"}
    assert set(server.good().values()) == {1}


def test_a_budget_without_a_price_is_refused(world: Dataset, tmp_path: Path) -> None:
    with serving(FakeServer()) as url, pytest.raises(ConfigError, match="price of 'fake'"):
        asked(world, url, tmp_path, {"prices": {}}, budget=1.0)


def test_the_dry_run_counts_what_is_asked_and_asks_nothing(world: Dataset, tmp_path: Path) -> None:
    server = FakeServer()
    with serving(server) as url:
        patient = {"limits": QUICK | {"timeout_s": 30.0}}  # on a busy machine too no call is made twice
        options = config_of(url, **patient)
        report = estimate(Job(world, options, tmp_path), endpoint(options))
        assert not server.calls
        assert not list(tmp_path.iterdir())
        made = asked(world, url, tmp_path, patient)
        assert report["requests"] == len(server.calls)
        assert report["sides"]["items"]["requests"] == made.card["questions"]["items"]["asked"]
        later = estimate(Job(world, options, tmp_path), endpoint(options))
    assert (later["requests"], later["answered"], later["money"]) == (0, report["requests"], 0.0)
    tokens = (report["prompt_tokens"], report["answer_tokens"])
    assert report["money"] == pytest.approx((tokens[0] * 10 + tokens[1] * 20) / 1e6, abs=1e-6)
    # item prompts against what was sent, at four bytes a token (a user's prompt holds profiles of unknown length)
    item_bodies = [b["messages"] for b in server.bodies if b["messages"][1]["content"].startswith("{")]
    sent = sum(len(m["content"].encode()) for messages in item_bodies for m in messages) / 4
    assert report["sides"]["items"]["prompt_tokens"] == pytest.approx(sent, rel=0.1)


def test_a_sample_is_asked_the_rest_keeps_its_texts(world: Dataset, tmp_path: Path) -> None:
    server = FakeServer()
    with serving(server) as url:
        made = asked(world, url, tmp_path, sample=4)
    assert len(server.calls) == 8
    assert made.card["coverage"]["items"]["written"] == made.card["coverage"]["users"]["written"] == 4
    rest = made.items.filter(pl.col("status") == "unasked")
    assert rest["profile"].str.starts_with("Title: ").all()


def test_profiles_that_saw_held_out_events_are_refused(world: Dataset, tmp_path: Path) -> None:
    with serving(FakeServer()) as url:
        made = asked(world, url, tmp_path)
    made.check(world)
    events = {
        "user_id": world.interactions.user_ids[world.interactions.users].tolist(),
        "item_id": world.interactions.item_ids[world.interactions.items].tolist(),
        "timestamp": world.interactions.times.tolist(),
    }
    other = prepare(pl.DataFrame(events), split=SplitConfig(name="ratio", valid=0.3, test=0.3), quiet=True)
    with pytest.raises(DataError, match=r"(?s)not in the train part.*leave-one-out.*ratio-0.4.*leak"):
        made.check(other)
    grown = replace(world, card=world.card | {"fingerprint": "another"})  # the same train part in other data
    made.check(grown)
    assert made.card["data"]["horizon"] == world.split.horizon


def test_reviews_of_held_out_events_are_never_read(world: Dataset, tmp_path: Path) -> None:
    events = world.interactions
    users, items = events.user_ids[events.users].tolist(), events.item_ids[events.items].tolist()
    texts = [f"review {u} {i}" for u, i in zip(users, items, strict=True)]
    pl.DataFrame({"reviewerID": users, "asin": items, "reviewText": texts}).write_csv(tmp_path / "reviews.csv")
    reviews = read_reviews(tmp_path / "reviews.csv", world)
    train = world.split.train
    allowed = set(zip(train.users.tolist(), train.items.tolist(), strict=True))
    assert set(reviews) <= allowed
    for part in (world.split.valid, world.split.test):
        for position, user in enumerate(part.users.tolist()):
            assert not any((user, item) in reviews for item in part.of_row(position).tolist())
    inputs = Inputs(world, ProfilesConfig(fields=["title"]), 1, reviews)
    row = int(train.item_counts.argmax())
    shown = json.loads(inputs.item(row).payload)["reviews"]
    assert 0 < len(shown) <= 6
    assert len(inputs.item(row).sources) == len(shown)
    assert "review " in inputs.user(0, dict.fromkeys(range(train.num_items), "x")).payload


def test_no_key_reaches_disk_or_screen(world: Dataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The server even repeats the key in its error messages, as some do."""
    server = FakeServer(lambda _text, before: "400" if before == 0 else "good")
    with serving(server) as url:
        made = asked(world, url, tmp_path, {"limits": QUICK | {"give_up_after": 1000}})
        assert "***" in made.card["failures"]["items"][0]["reason"]
        asked(world, url, tmp_path, retry_failed=True)
    assert f"Bearer {KEY}" in server.keys
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "ledger.sqlite" for path in files)
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path
    out = capfd.readouterr()
    assert KEY not in out.out + out.err


def test_a_base_url_with_a_secret_and_a_missing_key_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="key_variable"):
        Endpoint("https://user:secret@example.org/v1", "m")
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_KEY is not set"):
        Endpoint("https://example.org/v1", "m", key_variable="NO_SUCH_KEY")
    Endpoint("http://localhost:1/v1", "m", key_variable="NO_SUCH_KEY")


def test_a_changed_set_is_noticed(world: Dataset, tmp_path: Path) -> None:
    with serving(FakeServer()) as url:
        made = asked(world, url, tmp_path, sample=1)
    with pytest.raises(DataError, match="no profile of 1 of 2"):
        made.texts("items", [str(made.items["item_id"][0]), "unknown"])
    made.items.with_columns(profile=pl.lit("other")).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(DataError, match="changed after"):
        load(tmp_path)
    with pytest.raises(DataError, match="no profile set"):
        load(tmp_path / "absent")


PROGRAM = "from interlingua.cli.main import main; main()"


def test_killed_at_any_time_only_calls_in_flight_are_asked_again(tmp_path: Path) -> None:
    """kill -9 of the real command, then to the end; the server knows who asked what."""
    server = FakeServer(delay=0.03)
    environment = {**os.environ, "FAKE_KEY": KEY, "OMP_NUM_THREADS": "1"}
    with serving(server) as url:
        command = [
            sys.executable, "-c", PROGRAM, "profiles", "itemknn", "--data", "planted", "--out", str(tmp_path / "set"),
            "--set", "data.options.num_users=60", "--set", "data.options.num_items=60", "--sample", "40",
            "--base-url", url, "--model", "fake", "--key-variable", "FAKE_KEY", "--concurrency", "4", "--json",
        ]  # fmt: skip
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while len(server.calls) < 30 and process.poll() is None:
            time.sleep(0.005)
        assert process.poll() is None, process.communicate()[1].decode()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)
    assert card["coverage"]["items"]["written"] == card["coverage"]["users"]["written"] == 40
    good = server.good()
    assert len(good) == 80
    assert sum(count - 1 for count in good.values()) <= 4  # calls in flight
    assert 0 < card["cost"]["ledger"]["unknown"] <= 4
    assert card["questions"]["items"]["found"] >= 30 - 4
    assert KEY not in done.stdout + done.stderr
    assert all(manner in GOOD for _, manner in server.calls)
