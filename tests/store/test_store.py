"""What is put into a store comes out of it, once, by every process, in either database."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert
from sqlalchemy.event import listen

import interlingua.store.schema as schema
from interlingua.errors import ConfigError, DataError, MissingExtraError, StoreError
from interlingua.store import Event, Item, Logged, ModelVersion, Store, User
from interlingua.store.connect import url_of
from interlingua.store.records import checked, digest
from interlingua.store.statements import MOST_AT_ONCE, next_number


def test_an_item_comes_out_as_it_went_in(store: Store) -> None:
    item = Item("i1", "Tïtle 'x'", None, "Drama|Sci-Fi", {"price": 19.5, "tags": ["a", None], "sold_out": False}, False)
    assert store.put_items([item, Item("i2")]) == 2
    first, second = store.items()
    assert first == Item(*(item.item_id, item.title, None, item.categories, item.attributes, False), False, 1)
    assert second == Item("i2", revision=2)
    assert store.items(["i2", "nobody"]) == [second]


def test_changes_are_seen_in_the_order_in_which_they_were_made(store: Store) -> None:
    store.put_items([Item("a"), Item("b"), Item("a", "later")])
    assert [(one.item_id, one.title) for one in store.items()] == [("a", "later"), ("b", None)]
    seen = store.counters()["items"]
    store.put_items([Item("a", "again")])
    assert store.delete_items(["b", "nobody", "b"]) == 1
    changed = store.changed_items(since=seen)
    assert [(one.item_id, one.deleted) for one in changed] == [("a", False), ("b", True)]
    assert [one.item_id for one in store.items()] == ["a"]
    assert not store.changed_items(since=store.counters()["items"])
    store.put_items([Item("b", "back")])
    assert [one.title for one in store.items()] == ["again", "back"]


def test_a_batch_counts_once(store: Store) -> None:
    batch = [Event("u1", "i1", 5.0, 4.0), Event("u2", "i1"), Event("u1", "i2", 7.0)]
    assert store.add_events(batch, "k1") == 3
    assert store.add_events(batch, "k1") == 0
    assert store.add_events(batch[:1], "k2") == 1
    assert store.add_events(batch[:1]) == 1
    assert [one.number for one in store.events()] == [1, 2, 3, 4, 5]
    assert [(one.item_id, one.time, one.value) for one in store.events("u1")][:2] == [("i1", 5, 4), ("i2", 7, None)]
    assert store.events("u2")[0].time > 1.7e9  # when it arrived
    assert [one.number for one in store.events(since=2, limit=2)] == [3, 4]
    with pytest.raises(DataError, match=r"'k1' came with another batch before \(3 events, now 1\)"):
        store.add_events(batch[:1], "k1")
    assert len(store.events()) == 5


def test_the_hash_of_a_batch_is_what_older_stores_hold() -> None:
    found = digest(checked([Event("u", "i", 1.0, 4.0), Event("\u00fc", "j")]))
    assert found == "1d75a7a3f5fc1696ab414b2b7ef19348bbedda7a74b409ffc0130cf752b9397d"


def test_models_users_and_requests(store: Store) -> None:
    store.add_model(ModelVersion("v1", "/runs/a", {"ndcg@10": 0.25}, made=1.0))
    store.add_model(ModelVersion("v2", "/runs/b", events=7))
    with pytest.raises(DataError, match=r"no version 'v3' .* it has: v1, v2"):
        store.promote("v3")
    for version in ("v1", "v2", "v1"):
        store.promote(version)
    assert store.promotions() == ["v1", "v2", "v1"]
    assert store.models()[0] == ModelVersion("v1", "/runs/a", {"ndcg@10": 0.25}, "", 1.0)
    assert store.models()[1].events == 7
    store.put_users([User("u1", {"profile": "x"}), User("u2")])
    store.put_users([User("u1", {"profile": "y"})])
    assert store.users(["u1"]) == [User("u1", {"profile": "y"})]
    store.log_requests([Logged("v1", "u1", {"k": 2}, ("i1", "i2"), 1.5, 3.0), Logged("v1", None, {}, (), 2.0)])
    assert store.requests(limit=1) == [Logged("v1", "u1", {"k": 2}, ("i1", "i2"), 1.5, 3.0, 1)]
    store.add_events([Event("u1", "i1"), Event("u2", "i1")])
    assert store.forget(user_id="u1") == 3  # the user, an event, a request
    assert [one.user_id for one in store.events()] == ["u2"]
    assert store.forget(requests_before=2e10) == 1
    with pytest.raises(ConfigError, match="limit must be at least 1"):
        store.events(limit=0)


def test_a_store_is_found_again(place: str) -> None:
    with Store.open(place) as first, Store.open(place) as second:
        first.put_items([Item("i1", "one")])
        first.add_events([Event("u", "i1")], "k")
        assert second.items() == first.items()
        assert second.add_events([Event("u", "i1")], "k") == 0
    with Store.open(place) as third:
        assert len(third.items()) == len(third.events()) == 1


def test_writers_wait_for_each_other_and_numbers_come_in_the_order_of_commits(place: str) -> None:
    """Readers that ask "after n" beside four writers see every number once, without a gap."""
    with Store.open(place, wait_s=30) as store:

        def write(worker: int) -> None:
            for number in range(15):
                store.add_events([Event(f"u{worker}", f"i{number}"), Event(f"u{worker}", "x")], f"{worker}-{number}")

        threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        seen: list[int] = []
        while any(thread.is_alive() for thread in threads) or len(seen) < store.counters()["events"]:
            seen += [one.number for one in store.events(since=seen[-1] if seen else 0)]
        assert seen == list(range(1, 121))


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
values = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | texts | st.lists(texts, max_size=2)


@settings(max_examples=25)
@given(st.dictionaries(texts, st.dictionaries(texts, values, max_size=3), max_size=4))
def test_any_json_is_kept(tmp_path_factory: pytest.TempPathFactory, given: dict[str, dict[str, object]]) -> None:
    with Store.open(tmp_path_factory.mktemp("any") / "s") as store:
        store.put_items([Item(name, attributes=own) for name, own in given.items()])
        assert {one.item_id: one.attributes for one in store.items()} == given


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (Item(""), r"Item.item_id is ''; give a text of 1 to 500 characters"),
        (Item("x" * 501), "500 characters"),
        (Item("a", available="no"), r"Item.available is 'no'; give True or False"),  # type: ignore[arg-type]
        (Item("a\0"), "the character NUL"),
        (Item("a", "\ud800"), "lone surrogate"),
        (Item("a", attributes={"x": float("nan")}), r"Item.attributes is .* which is no JSON"),
        (Item("a", attributes={"x": "b\0"}), "the character NUL"),
        (Item("a", attributes={"x": object()}), "which is no JSON"),
    ],
)
def test_what_no_database_holds_is_refused_before_anything_is_written(store: Store, record: Item, said: str) -> None:
    with pytest.raises(DataError, match=said):
        store.put_items([Item("good"), record])
    assert store.items() == []


def test_a_time_that_is_not_finite_is_refused(store: Store) -> None:
    with pytest.raises(DataError, match=r"Event.time is inf; give a finite number"):
        store.add_events([Event("u", "i", float("inf"))])


def test_a_lock_that_stays_is_said(place: str) -> None:
    with Store.open(place, wait_s=0.2) as first, Store.open(place, wait_s=0.2) as second, first._writing() as held:
        next_number(held, "items", 1)
        with pytest.raises(StoreError, match=r"was locked by another process for 0.2 s; try again, or raise wait_s"):
            second.put_items([Item("i")])


def test_places_that_cannot_be_opened_are_said(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, " * 100)
    with pytest.raises(StoreError, match=r"it is no SQLite file: give another path"):
        Store.open(tmp_path / "text")
    with pytest.raises(StoreError, match=r"give a file in a folder that is there"):
        Store.open(tmp_path / "none" / "x")
    with pytest.raises(StoreError, match=r"store mysql://u:\*\*\*@h/d is of a kind that is not known"):
        Store.open("mysql://u:secret@h/d")
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE items (x)")
    other.close()
    with pytest.raises(StoreError, match=r"tables that Interlingua did not make \(items\)"):
        Store.open(tmp_path / "other")


def test_places_by_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'by_url'}") as store:
        store.put_items([Item("i1")])
    with Store.open(tmp_path / "by_url") as store:
        assert [one.item_id for one in store.items()] == ["i1"]
    for wrong in ("://nowhere", "postgresql://host:port/db"):
        with pytest.raises(StoreError, match=r"URL cannot be read; write postgresql://"):
            Store.open(wrong)
    for forgetful in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(StoreError, match="of a kind that is not known; give the path of a file"):
            Store.open(forgetful)
    for url in ("postgres://u@h/d", "postgresql://u@h/d", "postgresql+psycopg://u@h/d"):
        assert url_of(url).drivername == "postgresql+psycopg"
    monkeypatch.setattr("interlingua.store.connect.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="a store in Postgres needs the package 'psycopg'"):
        Store.open("postgresql://u@h/d")


def test_a_fault_beside_the_database_is_an_error_of_the_store(store: Store) -> None:
    with pytest.raises(StoreError, match=r"^the store .*: "), store._writing() as connection:
        connection.execute(insert(schema.items), [{"item_id": "i1"}, {"title": "one without an id"}])
    assert store.items() == []


def test_a_postgres_that_does_not_answer_is_said_without_its_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match="is the server up") as caught:
        Store.open("postgresql://me:secret@127.0.0.1:9/db", wait_s=1)
    assert "secret" not in str(caught.value)
    assert "me:***@127.0.0.1" in str(caught.value)


def test_many_ids_are_taken_in_few_statements(store: Store) -> None:
    """One statement for each of 20,000 items took 21 s; 260,000 ids in one were more values than SQLite takes."""
    asked: list[str] = []
    listen(store._engine, "after_cursor_execute", lambda _a, _b, statement, *_: asked.append(statement))
    ids = [f"i{number:04}" for number in range(2 * MOST_AT_ONCE + 1)]
    store.put_items(map(Item, ids))
    store.put_users(User(one) for one in reversed(ids))
    asked.clear()
    assert store.delete_items(ids) == len(ids)
    assert len(asked) < 20
    assert [one.item_id for one in store.changed_items() if one.deleted] == ids  # in their order
    assert [one.user_id for one in store.users([*ids, *(f"nobody {n}" for n in range(260_000))])] == ids
    assert [one.user_id for one in store.users()] == ids
    assert store.users([]) == []


def test_an_id_that_was_never_put_in_can_be_remembered_as_deleted(store: Store) -> None:
    store.put_items([Item("a", "kept", attributes={"price": 1})])
    assert store.delete_items(["a", "own", "own"], unknown_too=True) == 2
    assert store.delete_items(["a", "own"], unknown_too=True) == 0
    assert [(one.item_id, one.title, one.deleted, one.revision) for one in store.changed_items()] == [
        ("a", "kept", True, 2), ("own", None, True, 3),
    ]  # fmt: skip
    assert store.items() == []
    store.put_items([Item("own", "back")])
    assert [one.title for one in store.items()] == ["back"]
