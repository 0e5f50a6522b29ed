"""Events after training: memory has what the store has, each once, and what is wrong with a batch is named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sqlalchemy")

import interlingua
from interlingua.data.interactions import Interactions
from interlingua.errors import DataError, StoreError, UnknownIdError
from interlingua.recommender import Recommender
from interlingua.runs.on_record import on_record
from interlingua.runs.session import Session
from interlingua.store import Event, ModelVersion, Store

SECOND = 1_700_000_000


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    rows = [(f"u{user}", f"i{(user + step) % 12}", SECOND + 60 * step) for user in range(12) for step in range(6)]
    data = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")
    sections = {"backbone": {"name": "itemknn"}, "evaluate": {"protocols": ["full"]}}
    return interlingua.run(sections, data={"interactions": data}, out=tmp_path_factory.mktemp("runs"), device="cpu")


class Lost(Store):
    """The first answer is lost on its way, after the commit."""

    lost = False

    def add_events(self, events: Any, idempotency_key: str | None = None) -> int:
        added = super().add_events(events, idempotency_key)
        if not self.lost:
            self.lost = True
            raise StoreError("connection lost")
        return added


def history(made: Recommender, user: str) -> list[str]:
    return [str(made.train.item_ids[row]) for row in made.query(user).items]


@pytest.mark.parametrize("again", [True, False])
def test_what_was_committed_counts_though_its_answer_was_lost(session: Session, tmp_path: Path, again: bool) -> None:
    with Lost.open(tmp_path / "s.db") as store:
        made = interlingua.load(session, store=store)
        event = {"user_id": "zoe", "item_id": "i3"}
        with pytest.raises(StoreError, match="connection lost"):
            made.add_events(event, "key")
        if again:
            assert made.add_events(event, "key") == 0
        assert history(made, "zoe") == ["i3"]
        assert len(store.events()) == 1


def test_services_on_one_store_know_each_others_events(session: Session, tmp_path: Path) -> None:
    first, second = (interlingua.load(session, store=tmp_path / "s.db") for _ in range(2))
    first.add_events({"user_id": "zoe", "item_id": "i3"}, "key")
    assert history(second, "zoe") == ["i3"]
    assert second.add_events({"user_id": "zoe", "item_id": "i3"}, "key") == 0
    second.add_events([{"user_id": "zoe", "item_id": "i4"}, {"user_id": "u1", "item_id": "i9"}])
    for made in (first, second):
        assert history(made, "zoe") == ["i3", "i4"]
        assert history(made, "u1")[-2:] == ["i6", "i9"]
        assert made.recommend(users=["u1", "zoe"], k=2).height == 4


def test_a_user_whom_the_store_forgot_is_forgotten_by_every_service(session: Session, tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        store.add_events([Event("zoe", "i1"), Event("bob", "i1")])
        store.add_model(ModelVersion(interlingua.load(session).version, "here", events=1))
        services = [interlingua.load(session, store=tmp_path / "s.db") for _ in range(2)]
        services[0].add_events([{"user_id": user, "item_id": "i3"} for user in ("zoe", "bob", "u1")])
        assert [history(made, "zoe") for made in services] == [["i1", "i3"]] * 2  # the run's data do not have her
        store.forget(user_id="zoe")
        store.forget(user_id="u1")
        store.add_events([Event("u1", "i9")])
        for made in services:
            with pytest.raises(UnknownIdError, match="unknown user 'zoe'"):
                made.recommend("zoe")
            assert history(made, "bob") == ["i1", "i3"]
            assert history(made, "u1")[-2:] == ["i6", "i9"]  # trained events stay until the next training
            assert "zoe" not in made._events.of_user
        services[1].add_events({"user_id": "zoe", "item_id": "i4"})
        assert history(services[0], "zoe") == ["i4"]
        assert history(interlingua.load(session, store=store), "zoe") == ["i4"]


def test_a_store_that_does_not_answer_holds_up_no_question(
    session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = interlingua.load(session, store=tmp_path / "s.db")
    made.add_events({"user_id": "zoe", "item_id": "i3"})
    made._events.store._engine.dispose()  # type: ignore[union-attr]
    (tmp_path / "s.db").write_bytes(b"no database" * 1000)
    for _ in range(3):
        assert history(made, "zoe") == ["i3"]
    assert capsys.readouterr().err.count("events of other processes are not seen") == 1
    with pytest.raises(StoreError):
        made.add_events({"user_id": "zoe", "item_id": "i4"})


def test_events_that_a_run_was_trained_with_count_once(session: Session, tmp_path: Path) -> None:
    plain = interlingua.load(session)
    known = history(plain, "u1")
    with Store.open(tmp_path / "s.db") as store:
        store.add_events([Event("u1", item) for item in known])  # their times are those of arrival
        store.add_model(ModelVersion(plain.version, "here", events=6))
        store.add_model(ModelVersion("another", "there", events=7))
        store.add_events([Event("u1", "i9")])
        assert history(interlingua.load(session, store=store), "u1") == [*known, "i9"]
    with Store.open(tmp_path / "without_a_version.db") as store:
        store.add_events([Event("u1", item, SECOND + 60.0 * step + 0.5) for step, item in enumerate(known)])
        made = interlingua.load(session, store=store)
        assert history(made, "u1") == known
        made.add_events({"user_id": "u1", "item_id": known[0], "time": SECOND + 1})  # once more, later
        made.add_events({"user_id": "u1", "item_id": known[1], "time": SECOND + 60})  # a second report
        assert history(made, "u1") == [*known, known[0]]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([{"user_id": 0, "item_id": None}, {"user_id": 1, "item_id": "a"}], "event 1 of 2 has no item_id"),
        ([{"user_id": None, "item_id": 0}, {"user_id": 1, "item_id": 2}], "event 1 of 2 has no user_id"),
        ({"user_id": "z", "item_id": "a", "value": math.nan}, "event 1: value is nan; give a finite number"),
        ({"user_id": "z", "item_id": "a", "time": math.inf}, "event 1 of 1: time is inf; give seconds since 1970"),
    ],
)
def test_what_is_wrong_with_an_event_is_named(session: Session, given: Any, said: str) -> None:
    made = interlingua.load(session)
    with pytest.raises(DataError, match=said):
        made.add_events(given)
    assert made._events.of_user == {}


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ([20260131, 20260201], [1769817600, 1769904000]),
        ([20260131.0, None], [1769817600, None]),
        (["20260131", "20260131"], [1769817600, 1769817600]),
        ([20260131101500, 20260131101501], [1769854500, 1769854501]),
        ([1769817600, 1769817601.5], [1769817600, 1769817601.5]),
        ([20260199, 5.5], [20260199, 5.5]),  # no days: seconds
    ],
)
def test_days_written_as_numbers_are_read_as_prepared_data_reads_them(
    session: Session, times: list[Any], seconds: list[Any]
) -> None:
    made = interlingua.load(session)
    made.add_events([{"user_id": "z", "item_id": f"i{n}", "time": time} for n, time in enumerate(times)])
    assert [each.time for each in made._events.of_user["z"]] == seconds


def test_days_among_seconds_are_refused(session: Session) -> None:
    made = interlingua.load(session)
    mixed = [{"user_id": "z", "item_id": "i1", "time": time} for time in (1769817600, 20260131)]
    with pytest.raises(DataError, match="event 2 of 2: time is 20260131, a day among seconds since 1970; write all"):
        made.add_events(mixed)
    assert made._events.of_user == {}


def test_values_off_the_scale_are_refused_and_not_read(tmp_path: Path) -> None:
    rows = [(f"u{user}", f"i{(user + step) % 9}", 60 * step, 1 + step) for user in range(9) for step in range(5)]
    data = {"interactions": pl.DataFrame(rows, ["user_id", "item_id", "timestamp", "rating"], orient="row")}
    sections = {"backbone": {"name": "pop"}, "evaluate": {"protocols": ["full"]}}
    session = interlingua.run(sections, data=data, out=tmp_path / "runs", device="cpu")
    with Store.open(tmp_path / "s.db") as store:
        made = interlingua.load(session, store=store)
        for value in (1e308, -0.5, 5.5):
            with pytest.raises(DataError, match=r"event 2 of 2: value is .*; the run's data have ratings from 1 to 5"):
                made.add_events([{"user_id": "z", "item_id": "i1", "rating": given} for given in (5, value)])
        assert store.events() == []
        store.add_events([Event("z", "i1", None, 1e308), Event("z", "i2", None, 0.5)])  # by another program
        assert history(made, "z") == ["i2"]


@given(st.data())
def test_what_is_on_record_is_found_as_one_by_one(data: st.DataObject) -> None:
    """Against a set of (user, item, second); of what was there before, the pair is enough."""
    lines = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)), max_size=20)
    own, asked = data.draw(lines), data.draw(lines)
    ids = [np.array([f"{side}{n}" for n in range(3)]) for side in "ui"]  # the fourth of each is not known
    kept = [line for line in own if max(line[:2]) < 3]
    pairs = {line[:2] for line in kept}
    columns = np.array(kept, np.int64).reshape(-1, 3).T
    known = Interactions.of(*ids, *columns)
    users, items = ([f"{side}{line[at]}" for line in asked] for at, side in enumerate("ui"))
    times = np.array([np.nan if line[2] == 4 else line[2] + 0.5 for line in asked], np.float64)
    before = np.array([data.draw(st.booleans()) for _ in asked], np.bool_)
    for seconds in (True, False):
        found = on_record(known, users, items, times, before, seconds=seconds)
        expected = [
            line[:2] in pairs and (early or (seconds and line[2] < 4 and line in kept))
            for line, early in zip(asked, before.tolist(), strict=True)
        ]
        assert found.tolist() == expected


def notes(said: str) -> Sequence[str]:
    return [line for line in said.splitlines() if "does not know" in line]


def test_one_note_for_the_events_of_many_users(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    made = interlingua.load(session)
    made.add_events([{"user_id": f"u{user}", "item_id": item} for user in range(9) for item in ("later", "x")])
    capsys.readouterr()  # the note of the change itself
    made.recommend(users=[f"u{user}" for user in range(9)], k=2)
    (note,) = notes(capsys.readouterr().err)
    assert note.startswith("note: events of 9 users: 2 item ids that the run does not know")
    made.recommend("u3", k=2)
    assert "events of u3: 2 item ids" in notes(capsys.readouterr().err)[0]


def test_lists_for_all_are_for_new_users_too(session: Session, tmp_path: Path) -> None:
    made = interlingua.load(session, store=tmp_path / "s.db")
    interlingua.load(session, store=tmp_path / "s.db").add_events({"user_id": "zoe", "item_id": "i3"})
    written = pl.read_parquet(made.recommend_all(tmp_path / "recs.parquet", k=2).path)
    assert set(written["user_id"]) == {*map(str, made.train.user_ids), "zoe"}
    expected = [one.item_id for one in made.recommend(history=["i3"], k=2)]
    assert written.filter(pl.col("user_id") == "zoe")["item_id"].to_list() == expected
