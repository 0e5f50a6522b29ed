"""Times of events over HTTP: seconds or dates, by the rules of data files; what may be two days is refused in words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from interlingua.recommender import Recommender
from interlingua.runs.stages import run
from interlingua.serve.app import create_app


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
    session = run("itemknn", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=options, device="cpu")
    with TestClient(create_app(Recommender(session))) as client:
        yield client


def entered(client: TestClient, *times: Any) -> Any:
    events = [{"user_id": "zoe", "item_id": f"i{n:05}", "time": time} for n, time in enumerate(times)]
    return client.post("/v1/events", json={"events": events})


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (1767225600, 1767225600.0),
        ("1767225600.5", 1767225600.5),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC).timestamp()),
        ("2026-01-31T18:30:00+01:00", datetime(2026, 1, 31, 17, 30, tzinfo=UTC).timestamp()),
        ("2026-01-31 18:30", datetime(2026, 1, 31, 18, 30, tzinfo=UTC).timestamp()),
        ("2026-01-31T18:30:00.250Z", datetime(2026, 1, 31, 18, 30, 0, 250_000, tzinfo=UTC).timestamp()),
        ("20260131", datetime(2026, 1, 31, tzinfo=UTC).timestamp()),
        ("31 Jan 2026", datetime(2026, 1, 31, tzinfo=UTC).timestamp()),
    ],
)
def test_times_are_read_as_in_data_files(client: TestClient, time: Any, seconds: float) -> None:
    assert entered(client, time).json() == {"added": 1, "unknown_items": [], "notes": []}
    (*_, last) = client.app.state.model.now._events.of_user["zoe"]  # type: ignore[attr-defined]
    assert last.time == seconds


def test_seconds_and_dates_may_stand_in_one_batch(client: TestClient) -> None:
    assert entered(client, 1767225600, "2026-01-31", None).json()["added"] == 3


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (["03/04/2026"], "time of an event: '03/04/2026' may be 2026-04-03 or 2026-03-04; write the year first"),
        ([1767225600, "soon"], "event 2 of 2: time is 'soon'; give seconds since 1970"),
        (["2026-02-30"], "time is '2026-02-30'"),
        ([1767225600000], "give seconds since 1970 (up to the year 2100)"),
        (["x" * 200], "at most 100 characters"),
    ],
)
def test_what_is_no_time_is_refused_in_words(client: TestClient, times: list[Any], words: str) -> None:
    before = len(client.app.state.model.now._events.of_user.get("zoe", ()))  # type: ignore[attr-defined]
    refused = entered(client, *times)
    assert refused.status_code == 422
    assert words in refused.text
    assert len(client.app.state.model.now._events.of_user.get("zoe", ())) == before  # type: ignore[attr-defined]
