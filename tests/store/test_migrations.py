"""Older stores are brought up to date and lose nothing; newer ones are refused."""

from __future__ import annotations

import threading
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import inspect, text
from tests.store import schema_1, schema_2

from interlingua.errors import DataError, StoreError
from interlingua.store import Event, Item, Promotion, Store
from interlingua.store.schema import SCHEMA


def layout(store: Store) -> dict[str, object]:
    """Tables -> columns with types and whether they may be empty, keys and indexes."""
    found = inspect(store._engine)
    return {
        name: (
            sorted((c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(name)),
            found.get_pk_constraint(name)["constrained_columns"],
            sorted((i["name"], tuple(i["column_names"])) for i in found.get_indexes(name)),
        )
        for name in found.get_table_names()
    }


def test_schema_1_is_brought_up_to_date(place: str) -> None:
    schema_1.make(place)
    with Store.open(place) as store:
        assert [(one.item_id, one.attributes, one.revision) for one in store.items()] == [
            ("i1", {"price": 20}, 1), ("i2", {"price": 3.5}, 2),
        ]  # fmt: skip
        assert store.events("u1") == [Event("u1", "i1", 10.5, None, 1), Event("u1", "i2", 11, 4, 2)]
        assert store.counters() == {"items": 2, "events": 3, "promotions": 0, "requests": 0, "forgotten": 0}
        assert store.add_events([Event("u1", "i1", 10.5), Event("u1", "i2", 11.0, 4.0)], "first") == 0
        assert store.add_events([Event("u3", "i1")], "third") == 1
        assert store.events("u3")[0].number == 4
        assert store.put_items([Item("i3")]) == 3


def test_schema_2_is_brought_up_to_date(place: str) -> None:
    schema_2.make(place)
    with Store.open(place) as store:
        assert [(one.item_id, one.deleted) for one in store.changed_items()] == [("i1", False), ("i2", True)]
        assert store.events() == [Event("u1", "i1", 10.5, None, 2), Event("u2", "i1", 12, 4, 3)]
        assert (store.promotions(), store.models()[0].events, len(store.requests())) == (["v1"], 3, 1)
        assert store.counters() == {"items": 5, "events": 3, "promotions": 1, "requests": 1, "forgotten": 0}
        assert store.history() == [Promotion(1, "v1", 2.0)]
        assert store.forget(user_id="u1") == 3
    with Store.open(place) as store:
        assert (store.counters()["forgotten"], store.first_events()) == (1, {"u2": 3})


@pytest.mark.parametrize("older", [schema_1, schema_2])
def test_an_old_store_has_the_layout_of_a_new_one(
    place: str, older: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> None:
    fresh = str(tmp_path_factory.mktemp("fresh") / "store")
    if place.startswith("postgresql"):
        fresh = place.rsplit("?", 1)[0].rsplit("/", 1)[0] + "/postgres?" + place.rsplit("?", 1)[1]
    older.make(place)
    with Store.open(place) as old, Store.open(fresh) as new:
        assert layout(old) == layout(new)


def test_a_step_that_fails_changes_nothing(place: str) -> None:
    schema_1.make(place)
    with Store.open(place) as store:  # something stands in the way of the last table
        before = layout(store)
    with Store.open(place) as store:
        assert layout(store) == before
    with store._writing() as connection:
        connection.execute(text("UPDATE meta SET value = '1'"))
    with pytest.raises(StoreError):  # its tables are there already
        Store.open(place)
    with store._reading() as connection:
        assert connection.execute(text("SELECT value FROM meta")).scalar() == "1"
    assert layout(store) == before


def test_a_newer_schema_is_refused(place: str) -> None:
    with Store.open(place) as store, store._writing() as connection:
        connection.execute(text(f"UPDATE meta SET value = '{SCHEMA + 1}'"))
    with pytest.raises(StoreError, match=f"has schema {SCHEMA + 1}, this Interlingua reads up to {SCHEMA}"):
        Store.open(place)


@pytest.mark.parametrize("number", [None, "one"])
def test_a_table_of_the_same_name_that_is_not_ours_is_refused(place: str, number: str | None) -> None:
    with Store.open(place) as store:
        before = layout(store)
        with store._writing() as connection:
            connection.execute(text("DELETE FROM meta"))
            if number is not None:
                connection.execute(text("INSERT INTO meta VALUES ('schema', :number)"), {"number": number})
        with pytest.raises(
            StoreError, match=rf"meta without a number of its schema \(got {number!r}\): it is not ours"
        ):
            Store.open(place)
        assert layout(store) == before


def test_nothing_is_made_where_nothing_may_be(place: str) -> None:
    with pytest.raises(StoreError, match=r"(there is|holds) no store.*; give the file of one, or postgresql://"):
        Store.open(place, make=False)
    if not place.startswith("postgresql"):
        assert not Path(place).exists()
        Path(place).touch()  # an empty file is an empty database
        with pytest.raises(StoreError, match="holds no store"):
            Store.open(place, make=False)
    with Store.open(place) as made:
        assert layout(made)
    with Store.open(place, make=False) as store:
        assert store.events() == []


def test_many_may_make_the_same_store_at_once(place: str) -> None:
    found: list[object] = []

    def opened() -> None:
        try:
            with Store.open(place, wait_s=20) as store:
                found.append(store.add_events([Event("u", "i", 1.0)], "one"))
        except (StoreError, DataError) as error:
            found.append(error)

    threads = [threading.Thread(target=opened) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == ["0"] * 5 + ["1"]
