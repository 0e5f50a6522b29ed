"""What a refresh does not train on: events of items that do not exist, values off the scale; and what it calls new."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

pytest.importorskip("sqlalchemy")

import interlingua
from interlingua.data.prepare import prepare_config
from interlingua.life.refresh import refresh
from interlingua.life.training_data import TrainingData, training_data
from interlingua.life.versions import enter, promote
from interlingua.runs.session import Session
from interlingua.store import Event, Item, Store

SECOND = 1_700_000_000
USERS, ITEMS = 24, 16


@pytest.fixture(scope="module")
def frames() -> dict[str, pl.DataFrame]:
    rng = np.random.default_rng(1)
    rows = [
        (f"u{user}", f"i{item}", SECOND + 60 * place, float(1 + item % 5))
        for user in range(USERS)
        for place, item in enumerate(rng.permutation(ITEMS)[:6].tolist())
    ]
    events = pl.DataFrame(rows, ["user_id", "item_id", "timestamp", "rating"], orient="row")
    items = pl.DataFrame({"item_id": [f"i{item}" for item in range(ITEMS)], "title": [f"T{i}" for i in range(ITEMS)]})
    return {"interactions": events, "items": items}


@pytest.fixture(scope="module")
def session(frames: dict[str, pl.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Session:
    sections = {"backbone": {"name": "itemknn"}, "evaluate": {"protocols": ["full"]}}
    return interlingua.run(sections, data=frames, out=tmp_path_factory.mktemp("runs"), device="cpu")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "shop.sqlite")


def made(session: Session, store: Store) -> TrainingData:
    return training_data(session.recipe.data, session.seed, store, session.data.catalogue)


def test_events_wait_for_their_item(session: Session, store: Store, tmp_path: Path) -> None:
    store.add_events([Event("u1", "typo"), Event("u2", "n1"), Event("u2", "typo"), Event("u1", "i3", SECOND + 1e6)])
    found = made(session, store)
    assert (found.counts["store_events"], found.counts["waiting_events"]) == (1, 3)
    assert found.waiting == ("typo", "n1")
    data = prepare_config(found.written(tmp_path / "frames"), session.seed)
    assert not {"typo", "n1"} & {*data.interactions.item_indices}
    store.put_items([Item("n1", "The Lost Galaxy")])
    found = made(session, store)
    assert (found.counts["store_events"], found.counts["waiting_events"]) == (2, 2)
    data = prepare_config(found.written(tmp_path / "frames"), session.seed)
    assert data.catalogue.titles[data.interactions.item_indices["n1"]] == "The Lost Galaxy"
    assert len(store.events()) == 4  # they stay


def test_where_nothing_describes_items_every_id_is_one(
    frames: dict[str, pl.DataFrame], store: Store, tmp_path: Path
) -> None:
    sections = {"backbone": {"name": "pop"}, "evaluate": {"protocols": ["full"]}}
    alone = interlingua.run(sections, data={"interactions": frames["interactions"]}, out=tmp_path, device="cpu")
    store.add_events([Event("u1", "brand new")])
    found = made(alone, store)
    assert (found.counts["store_events"], found.counts["waiting_events"]) == (1, 0)


def test_values_off_the_scale_are_left_out(session: Session, store: Store) -> None:
    store.add_events([Event("zoe", "i1", None, value) for value in (1e308, -1.0, 5.0, None, 4.5)])
    found = made(session, store)
    assert (found.counts["store_events"], found.counts["strange_values"]) == (3, 2)
    own = found.tables["interactions"].filter(pl.col("user_id") == "zoe")
    assert own["rating"].to_list() == [5.0, None, 4.5]


def test_only_what_came_since_the_last_training_is_new(
    session: Session, store: Store, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    place = store.place.removeprefix("sqlite:///")

    def counts() -> dict[str, int]:
        found: dict[str, int] = json.loads(cli("refresh", "--store", place, "--dry-run", "--json")[1])["counts"]
        return {name: found[f"{name}"] for name in ("store_events", "new_events", "new_items", "waiting_events")}

    promote(store, enter(store, session.path).version)
    store.add_events([Event(f"u{user}", f"i{(user + 1) % ITEMS}", SECOND + 1e6 + user) for user in range(10)])
    store.put_items([Item("n1", "One more")])
    assert counts() == {"store_events": 10, "new_events": 10, "new_items": 1, "waiting_events": 0}
    first = refresh(None, store, out=tmp_path / "runs", device="cpu")
    if not first.promoted:  # chance decides on so small a world, and it is not what is tested
        promote(store, str(first.version))
    assert counts() == {"store_events": 10, "new_events": 0, "new_items": 0, "waiting_events": 0}
    store.add_events([Event("u1", "typo"), Event("u1", "n1", SECOND + 2e6)])
    store.put_items([Item("n1", "One more, retold"), Item("n2", "Two more")])
    assert counts() == {"store_events": 11, "new_events": 1, "new_items": 2, "waiting_events": 1}
    said = cli("refresh", "--store", place, "--dry-run")[1]
    assert (
        "11 events of the store (1 new), with 2 new or changed items; 1 wait for items that do not exist ('typo')"
        in said
    )
    again = refresh(None, store, out=tmp_path / "runs", device="cpu")
    note = next(model.note for model in store.models() if model.version == again.version)
    assert "11 events of the store (1 new); 1 wait for items that do not exist ('typo')" in note
    store.add_events([Event("u1", "another typo")])
    same = refresh(None if again.promoted else tmp_path / "runs" / Path(str(again.path)).name, store, device="cpu")
    assert same.version == again.version  # an event that waits changes no data
    assert same.waiting == ("typo", "another typo")
