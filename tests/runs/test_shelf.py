"""What is put in and taken out after training: the same after a restart, all or nothing."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytest.importorskip("sqlalchemy")

import interlingua
from interlingua.errors import DataError, InterlinguaError, UnknownIdError
from interlingua.recommender import Recommender
from interlingua.runs.grown import encoders_of
from interlingua.runs.session import Session
from interlingua.runs.stages import run
from interlingua.runtime.cancel import Cancelled
from interlingua.store import Item, Store

SPACE = {"title": "The Lost Galaxy", "description": "A space story about orbit and rocket", "categories": "Space"}
OWN, NEW = "i00003", "new"
STEPS: dict[str, Callable[[Recommender], Any]] = {
    "remove": lambda made: made.remove_items([OWN]),
    "rename": lambda made: made.add_items({"item_id": OWN, "title": "Renamed", "price": 3}),
    "switch on": lambda made: made.add_items({"item_id": OWN, "available": True}),
    "switch off": lambda made: made.add_items({"item_id": OWN, "available": False}),
    "new": lambda made: made.add_items([SPACE | {"item_id": "other"}, SPACE | {"item_id": NEW}]),
    "remove new": lambda made: made.remove_items(NEW),
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    options = ("data.options={num_users = 40, num_items = 20}", 'evaluate.protocols=["full"]')
    return run("textknn", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=options, device="cpu")


def outcome(made: Recommender, step: str) -> Any:
    try:
        return STEPS[step](made)
    except UnknownIdError as error:
        return str(error)


def state(made: Recommender) -> Any:
    table = made._lists.session.data.catalogue.items
    found = made.recommend(history=["i00010"], k=30, repeat=True)
    return table.select(sorted(table.columns)).to_dicts(), [(one.item_id, one.title, one.score) for one in found]


@pytest.mark.parametrize("first", STEPS)
def test_every_order_of_changes_is_the_same_with_and_without_restarts(
    session: Session, first: str, tmp_path: Path
) -> None:
    """Removed was kept as not available: an item put in again never came out, and its changed texts came back."""
    for place, rest in enumerate(itertools.product(STEPS, repeat=2)):
        live = interlingua.load(session)
        with Store.open(tmp_path / f"{place}.db") as store:
            for step in (first, *rest):
                restarted = interlingua.load(session, store=store)
                assert outcome(restarted, step) == outcome(live, step), (first, *rest)
            assert state(interlingua.load(session, store=store)) == state(live), (first, *rest)


def test_a_removed_item_is_put_in_again_as_it_was_trained(session: Session, tmp_path: Path) -> None:
    made = interlingua.load(session, store=tmp_path / "s.db")
    title = made.titles[3]
    for step in ("rename", "remove"):
        STEPS[step](made)
    made = interlingua.load(session, store=tmp_path / "s.db")
    assert OWN not in {one.item_id for one in made.recommend(history=["i00010"], k=30)}
    assert made.explain("i00005", history=[OWN]).support[0].item_id == OWN  # it still counts
    with pytest.raises(UnknownIdError, match=f"'{OWN}' is removed already"):
        made.remove_items(OWN)
    STEPS["switch on"](made)
    assert title in {one.title for one in made.recommend(history=["i00010"], k=30)}


def test_what_fails_or_is_given_up_leaves_all_as_it_was(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def given_up(*_: Any) -> None:
        raise Cancelled

    store = Store.open(tmp_path / "s.db")
    made = interlingua.load(session, store=store)
    STEPS["new"](made)
    before, kept = state(made), store.changed_items()
    with monkeypatch.context() as patched:
        patched.setattr("interlingua.runs.shelf.grown", given_up)
        for step in ("remove new", "remove", "rename"):
            with pytest.raises(Cancelled):
                STEPS[step](made)
            assert (state(made), store.changed_items()) == (before, kept)
    assert all(state(each) == before for each in (made, interlingua.load(session, store=store)))
    store._engine.dispose()
    (tmp_path / "s.db").write_bytes(b"no database" * 1000)
    for step in ("remove new", "remove", "rename"):
        with pytest.raises(InterlinguaError):
            STEPS[step](made)
        assert state(made) == before


def test_an_unknown_id_names_the_nearest_and_not_the_catalogue(session: Session) -> None:
    made = interlingua.load(session)
    with pytest.raises(UnknownIdError, match=r"unknown item id 'i00003x'; did you mean 'i00003'\?") as refused:
        made.remove_items("i00003x")
    assert len(str(refused.value)) < 200
    STEPS["remove"](made)
    with pytest.raises(UnknownIdError) as refused:
        made.remove_items("i00003x")
    assert f"mean '{OWN}'" not in str(refused.value)


def test_new_texts_are_read_once_however_many_there_are(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interlingua.runs.new_texts.REMEMBERED", 5)
    made, read = interlingua.load(session), list[str]()
    encoder = encoders_of(session)._loaded("text")[0]
    own = type(encoder).encode

    def encode(self: Any, texts: Any) -> Any:
        read.extend(texts)
        return own(self, texts)

    monkeypatch.setattr(type(encoder), "encode", encode)
    made.add_items([SPACE | {"item_id": f"n{n}", "description": f"orbit {n}"} for n in range(30)])
    assert len(read) == 30
    for n in range(20):
        made.recommend(text=f"rocket {n}", k=2)
    made.add_items(SPACE | {"item_id": "z", "description": "orbit z"})
    made.remove_items("n3")
    assert (len(read), len(set(read))) == (51, 51)
    assert len(encoders_of(session)._known["text"]) <= 31 + 5 + 1  # sentences are forgotten


def test_items_bring_a_bounded_number_of_attributes(session: Session) -> None:
    """400 items with 100 attributes each, all of another name, took 25 s and 1.3 GB."""
    made = interlingua.load(session)
    many = [{"item_id": f"n{n}", "title": "x", **{f"a{n}_{each}": 1 for each in range(100)}} for n in range(400)]
    for given in (many, pl.DataFrame([{"item_id": "n", **{f"a{n}": 1 for n in range(1001)}}])):
        started = time.process_time()
        with pytest.raises(DataError, match=r"would have (40,000|1,001) attributes .* at most 1,000; give the same"):
            made.add_items(given)
        assert time.process_time() - started < 1
    made.add_items(many[:6])
    made.add_items({"item_id": OWN, **{f"b{each}": 1 for each in range(400)}})
    before = state(made)
    with pytest.raises(DataError, match="would have 1,001 attributes"):
        made.add_items({"item_id": "n6", "one more": 1})
    assert state(made) == before
    made.remove_items("n0")
    assert made.add_items({"item_id": "n6", "one more": 1}).added == ("n6",)


def test_what_is_put_in_again_has_only_what_is_said_then_in_every_version(session: Session, tmp_path: Path) -> None:
    """Whichever version serves: one that was trained with the item, and one that knows it from the store alone."""
    place = tmp_path / "s.db"
    made = interlingua.load(session, store=place)
    made.add_items([{"item_id": "n1", "title": "A new one", "categories": ["Old"], "price": 9}])
    for item in (OWN, "n1"):
        made.add_items([{"item_id": item, "title": "First words", "price": 7}])
        made.remove_items(item)
        made.add_items([{"item_id": item, "title": "Last words"}])
    made.add_items([{"item_id": OWN, "description": "More of it"}])
    for each in (made, interlingua.load(session, store=place)):
        lines = {line["item_id"]: line for line in each._lists.session.data.catalogue.items.iter_rows(named=True)}
        said = {item: {k: v for k, v in lines[item].items() if v and k != "item_id"} for item in (OWN, "n1")}
        assert said == {OWN: {"title": "Last words", "description": "More of it"}, "n1": {"title": "Last words"}}
    with Store.open(place) as store:
        assert {item.item_id: item.whole for item in store.items()} == {OWN: True, "n1": True}
        store.put_items([Item("n1", "Once more"), Item("n2", "Another")])
        assert {item.item_id: item.whole for item in store.items()} == {OWN: True, "n1": True, "n2": False}


def test_a_change_of_ones_own_hides_none_of_another_process(session: Session, tmp_path: Path) -> None:
    """Own changes are not read again, unless somebody else's lie before them."""
    place = tmp_path / "s.db"
    one, other = interlingua.load(session, store=place), interlingua.load(session, store=place)
    one.add_items(SPACE | {"item_id": "of one"})
    assert one.follow_items() == 0  # its own, and nobody else's
    one.remove_items("of one")
    assert one.follow_items() == 0
    one.add_items(SPACE | {"item_id": "of one"})
    other.add_items(SPACE | {"item_id": "of the other"})
    assert "of one" not in other.train.item_indices
    other.follow_items()
    one.follow_items()
    for each in (one, other):
        assert {"of one", "of the other"} <= each.train.item_indices.keys()


def test_new_items_say_nothing_but_their_notes(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    made = interlingua.load(session)
    capsys.readouterr()
    made.add_items(pl.DataFrame({"id": ["n1"], "name": ["A galaxy"], "genre": ["Space"]}))
    assert "n1" in made.train.item_indices
    assert capsys.readouterr().err == ""
