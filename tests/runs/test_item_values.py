"""Values of items after training: null takes one away, over a restart and in training; a wrong kind is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytest.importorskip("sqlalchemy")

import interlingua
from interlingua.data.sources.planted import generate
from interlingua.errors import DataError
from interlingua.life.training_data import training_data
from interlingua.recommender import Recommender
from interlingua.runs.session import Session
from interlingua.store import Item, Store


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    world = generate(num_users=40, num_items=20, seed=5)
    events = world.interactions
    rows = {"user_id": events.user_ids[events.users], "item_id": events.item_ids[events.items]}
    items = world.catalogue.items.with_columns(
        pl.Series("price", [str(5 + n) for n in range(20)]),
        pl.Series("stock", ["yes", "no"] * 10),
        pl.Series("shelf", [f"00{n}" for n in range(20)]),
        pl.Series("brand", ["Acme", "7"] * 10),
    )
    data = {"interactions": pl.DataFrame(rows).with_columns(timestamp=pl.Series(events.times)), "items": items}
    sections = {"backbone": {"name": "textknn"}, "text": {"name": "lsa"}, "evaluate": {"protocols": ["full"]}}
    return interlingua.run(sections, data=data, out=tmp_path_factory.mktemp("runs"), device="cpu")


@pytest.fixture
def made(session: Session, tmp_path: Path) -> Iterator[Recommender]:
    with Store.open(tmp_path / "s.db") as store:
        yield interlingua.load(session, store=store)


def found(made: Recommender, filters: str) -> set[str]:
    return {one.item_id for one in made.recommend(history=[], k=30, filters=filters)}


def own(made: Recommender) -> tuple[str, str]:
    return str(made.train.item_ids[0]), str(made.train.item_ids[1])


def test_none_takes_a_value_away_and_a_restart_keeps_that(made: Recommender, session: Session, tmp_path: Path) -> None:
    item, other = own(made)
    made.add_items({"item_id": "n1", "title": "New", "price": 9, "brand": "Acme", "size": 3})
    made.add_items([{"item_id": item, "price": 99, "brand": None}, {"item_id": "n1", "price": None}])
    made.add_items([{"item_id": item, "price": None, "categories": []}, {"item_id": "n1", "size": ""}])
    made.add_items(pl.DataFrame({"item_id": [other], "price": [None], "stock": ["no"]}))  # a gap says nothing
    again = interlingua.load(session, store=tmp_path / "s.db")
    for each in (made, again):
        assert {item, "n1"} <= found(each, "price is None")
        assert found(each, "brand is None") == {item}
        assert found(each, "size is not None") == set() if "size" in each._lists.session.data.catalogue.items else True
        assert found(each, "categories is None") >= {item}
        assert other in found(each, "price == 6 and stock == 'no'")
    with Store.open(tmp_path / "s.db") as store:
        tables = training_data(session.recipe.data, session.seed, store, session.data.catalogue).tables
    line = tables["items"].filter(pl.col("item_id") == item).to_dicts()[0]
    assert (line["price"], line["brand"], line["categories"]) == (None, None, None)
    assert line["title"] == session.data.catalogue.titles[0]
    again.add_items({"item_id": item, "price": 5})
    assert item in found(interlingua.load(session, store=tmp_path / "s.db"), "price == 5")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"price": "cheap"}, "item 'n1': price is 'cheap', and the column 'price' holds numbers"),
        ({"price": "9,50 EUR"}, "holds numbers"),
        ({"stock": "perhaps"}, "stock is 'perhaps', and the column 'stock' holds yes and no"),
        ({"stock": 2}, "holds yes and no"),
    ],
)
def test_a_value_of_another_kind_is_refused(made: Recommender, line: dict[str, Any], said: str) -> None:
    before = made.train.num_items
    with pytest.raises(DataError, match=said):
        made.add_items([{"item_id": "n0", "title": "Good"}, {"item_id": "n1", "title": "New"} | line])
    assert made.train.num_items == before


def test_what_columns_take(made: Recommender) -> None:
    lines = [{"price": " 9.5 "}, {"price": 7}, {"stock": True}, {"stock": "0"}, {"shelf": "0A"}, {"brand": "x"}]
    made.add_items([{"item_id": f"n{n}", "title": "New", "size": n or "XL"} | line for n, line in enumerate(lines)])
    assert made.train.num_items == 20 + len(lines)


def test_a_store_with_a_wrong_kind_still_opens(session: Session, tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        store.put_items([Item("n1", "New", attributes={"price": "cheap"})])
        assert "n1" in interlingua.load(session, store=store).train.item_indices
