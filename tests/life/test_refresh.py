"""Training again with a store: the data by the run's own rules, the comparison, promotion, a kill in the middle."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

pytest.importorskip("sqlalchemy")

import interlingua
from interlingua.data.prepare import prepare_config
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError, DataError
from interlingua.life.gate import Mapped, judge
from interlingua.life.refresh import refresh
from interlingua.life.training_data import training_data
from interlingua.life.versions import enter, promote
from interlingua.recommender import Recommender
from interlingua.runs.session import Session
from interlingua.runs.stages import run
from interlingua.store import Event, Item, Store

SECOND = 1_700_000_000


def shop(folder: Path, users: int = 60, items: int = 40) -> Path:
    """A shop's two files, with names of their own, times of half seconds, and stars."""
    world = generate(num_users=users, num_items=items, seed=3)
    events, folder = world.interactions, folder / "shop"
    folder.mkdir()
    table = pl.DataFrame(
        {
            "reader": events.user_ids[events.users],
            "isbn": events.item_ids[events.items],
            "when": events.times + 0.5,
            "stars": 1 + (events.items + events.users) % 5,
        }
    )
    table.write_parquet(folder / "interactions.parquet")
    texts = world.catalogue.items.select(isbn="item_id", book="title", genre="categories", description="description")
    texts.write_parquet(folder / "items.parquet")
    return folder


OPTIONS = (
    "data.columns={user_id = 'reader', item_id = 'isbn', timestamp = 'when', rating = 'stars', title = 'book'}",
    "data.filter.min_user=3", "data.filter.min_item=2", 'evaluate.protocols=["full"]',
)  # fmt: skip


def trained(recipe: str, data: Path, out: Path, *overrides: str) -> Session:
    return run(recipe, out=out, data=str(data), overrides=[*OPTIONS, *overrides], device="cpu")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Session]:
    folder = tmp_path_factory.mktemp("shop")
    data = shop(folder)
    return data, trained("textknn", data, folder / "runs")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "shop.sqlite")


def later(session: Session, number: int = 40) -> list[Event]:
    """Each of the first users has one more item of the kind that he likes."""
    data = session.data.interactions
    best = Recommender.load(session.path, "cpu")
    users = [str(user) for user in data.user_ids[:number]]
    after = float(data.times.max())
    return [Event(user, best.recommend(user, k=1)[0].item_id, after + 60 + at) for at, user in enumerate(users)]


@pytest.mark.parametrize("overrides", [(), ("data.label.at_least=3",), ("data.split=global-time",)])
def test_a_store_without_anything_new_gives_the_same_data(
    world: tuple[Path, Session], store: Store, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    own = world[1] if not overrides else trained("pop", world[0], tmp_path / "runs", *overrides)
    made = training_data(own.recipe.data, own.seed, store, own.data.catalogue)
    again = prepare_config(made.written(tmp_path / "frames"), own.seed)
    assert again.fingerprint == own.data.fingerprint
    assert again.catalogue.column("genre") == "categories"  # the source's own words still name the columns
    assert again.card["name"] == own.data.card["name"]


def test_events_and_items_of_the_store_join_the_source(
    world: tuple[Path, Session], store: Store, tmp_path: Path
) -> None:
    session = world[1]
    data, first = session.data.interactions, session.data.interactions.filter(np.arange(len(session.data.parts)) < 1)
    known = Event(str(first.user_ids[first.users[0]]), str(first.item_ids[first.items[0]]), float(first.times[0]) + 0.7)
    gone, closed = str(data.item_ids[3]), str(data.item_ids[4])
    new = [Event("zoe", str(data.item_ids[place]), SECOND + 1e7 + place, 5.0) for place in (0, 1, 2, 5)]
    store.add_events([known, *new, Event("zoe", "n1", SECOND + 1e7 + 9), Event("ann", gone), Event("max", "n1")])
    store.add_events([Event(str(data.user_ids[0]), "n1")])
    store.put_items([Item("n1", "The Lost Galaxy", categories="Space", attributes={"price": 9})])
    store.put_items([Item(closed, "Another title", available=False), Item("never had", "Nobody's")])
    store.delete_items([gone], unknown_too=True)
    made = training_data(session.recipe.data, session.seed, store, session.data.catalogue)
    assert made.counts["new_events"] == 7  # the known one counts once, that of the deleted item not at all
    config = made.written(tmp_path / "frames")
    again = prepare_config(config, session.seed)
    events = again.interactions
    assert gone not in events.item_indices
    assert closed in events.item_indices
    assert "never had" not in events.item_indices  # no event, and the recipe's filter drops such items
    own = events.history(events.user_indices["zoe"])
    assert [str(events.item_ids[item]) for item in own][:4] == [str(data.item_ids[p]) for p in (0, 1, 2, 5)]
    assert "max" not in events.user_indices  # one event, and the filter asks for three
    lines = {line["item_id"]: line for line in again.catalogue.items.to_dicts()}
    assert lines["n1"]["title"] == "The Lost Galaxy"
    assert lines["n1"]["price"] == "9"
    assert lines[closed]["title"] == "Another title"
    assert lines[closed]["categories"] == session.data.catalogue.items["categories"][4]  # what is not given stays

    store.forget(user_id="zoe")
    anew = training_data(config, session.seed, store, again.catalogue)  # of the refreshed run
    assert "zoe" not in anew.tables["interactions"]["user_id"].to_list()
    assert anew.meta["refreshed"]["data"]["name"] == str(world[0])


def test_a_value_below_the_threshold_is_no_liking(world: tuple[Path, Session], store: Store, tmp_path: Path) -> None:
    session = trained("pop", world[0], tmp_path / "runs", "data.label.at_least=3")
    items = [str(item) for item in session.data.interactions.item_ids[:3]]
    store.add_events([Event("zoe", item, None, value) for item, value in zip(items, (5.0, 1.0, None), strict=True)])
    made = training_data(session.recipe.data, session.seed, store, session.data.catalogue)
    events = prepare_config(made.written(tmp_path / "frames"), session.seed).interactions
    own = np.flatnonzero(events.users == events.user_indices["zoe"])
    assert events.labels is not None
    found = {str(events.item_ids[events.items[at]]): bool(events.labels[at]) for at in own}
    assert found == dict(zip(items, (True, False, True), strict=True))


def test_a_version_asked_about_its_own_data_in_another_order_says_the_same(world: tuple[Path, Session]) -> None:
    session = world[1]
    train, data = session.data.split.train, session.data.interactions
    order = np.random.default_rng(0).permutation(train.num_items)
    back = np.argsort(order)
    other = type(train)(
        train.user_ids, train.item_ids[order], train.users, back[train.items].astype(np.int32), train.times
    )
    mapped = Mapped(session.backbone, train, data, other)
    queries, asked = train.queries(np.arange(9)), other.queries(np.arange(9))
    assert np.array_equal(mapped.score(asked), session.backbone.score(queries)[:, order])
    some = np.tile(np.arange(5), (9, 1))
    assert np.allclose(mapped.score(asked, some), session.backbone.score(queries, order[some]), atol=1e-6)
    fewer = type(train)(train.user_ids[:2], train.item_ids[:7], *(np.zeros(0, np.int32),) * 2, np.zeros(0, np.int64))
    blind = Mapped(session.backbone, fewer, fewer, train)  # what it does not know comes last
    blind._items[7:] = -1
    scored = blind.score(queries)
    assert (scored[:, 7:].max(axis=1) < scored[:, :7].min(axis=1)).all()


def test_a_better_one_is_promoted_a_worse_one_is_not(world: tuple[Path, Session], store: Store, tmp_path: Path) -> None:
    data, session = world
    out = tmp_path / "runs"
    promote(store, enter(store, session.path).version)
    store.add_events(later(session))
    found = refresh(None, store, out=out, device="cpu")
    assert found.promoted
    assert found.verdict is not None
    assert found.verdict.users >= 30
    assert found.verdict.targets == "events since the served version"
    first = found.version
    assert store.promotions()[-1] == first
    assert next(model.events for model in store.models() if model.version == first) == 40
    again = refresh(None, store, out=out, device="cpu")
    assert (again.version, again.promoted) == (first, False)
    assert "nothing has changed" in again.reason

    store.add_events(later(interlingua.load(out / Path(str(found.path)).name).session))
    worse = refresh(trained("pop", data, out).path, store, out=out, device="cpu")
    assert not worse.promoted
    assert worse.verdict is not None
    assert worse.verdict.interval[1] < 0
    assert store.promotions()[-1] == first
    entered = store.models()[-1]
    assert entered.version == worse.version
    assert "worse" in entered.note
    assert entered.note.endswith("not promoted")
    assert entered.metrics[f"gate ndcg@10 of {first}"] > entered.metrics["gate ndcg@10"]


def test_nothing_is_promoted_that_cannot_be_compared(world: tuple[Path, Session], store: Store) -> None:
    session = world[1]
    with pytest.raises(ConfigError, match="no version is promoted"):
        refresh(None, store)
    with pytest.raises(DataError, match="nothing to compare"):
        judge(_trained_on_everything(session), session, store)


def _trained_on_everything(session: Session) -> Session:
    """The run, as if its test part were of training events."""
    from dataclasses import replace

    from interlingua.data.split import GroundTruth

    again = Session(session.recipe, session.root, session.seed, session.device, dict(session.done))
    train = session.data.split.train
    split = replace(session.data.split, test=GroundTruth.of(train.users, train.items, train.times))
    again.__dict__["data"] = replace(session.data, split=split)
    return again


def test_the_command_counts_and_trains(
    world: tuple[Path, Session], store: Store, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    place = store.place.removeprefix("sqlite:///")
    store.add_events(later(world[1], 5))
    run_folder, out = str(world[1].path), str(tmp_path / "runs")
    code, said, _ = cli("refresh", run_folder, "--store", place, "--dry-run")
    assert code == 0
    assert said.startswith("would train on ")
    assert said.endswith(
        " events of the source and 5 events of the store (5 new), with 0 new or changed items; nothing was trained "
        "(dry run)\n"
    )
    assert not (tmp_path / "runs").exists()
    found = json.loads(cli("refresh", run_folder, "--store", place, "--out", out, "--device", "cpu", "--json")[1])
    assert found["promoted"]
    assert "5 users have one since the served version" in found["verdict"]["targets"]
    assert found["served"] is None or found["served"] != found["version"]
    moved = cli("refresh", run_folder, "--store", place, "--data", str(tmp_path / "nowhere"), "--device", "cpu")
    assert moved[0] == 2
    assert "name where they are now with --data" in moved[2]


KILLED = """
import os, signal, sys
import interlingua.runs.stages as stages
from interlingua.cli.main import main

stages.train = lambda session: os.kill(os.getpid(), signal.SIGKILL)
main()
"""
"""the command, whose process dies where training would begin"""


def test_killed_before_it_trains_it_goes_on_with_the_same_data(
    world: tuple[Path, Session], store: Store, tmp_path: Path
) -> None:
    place, out = store.place.removeprefix("sqlite:///"), tmp_path / "runs"
    arguments = ["refresh", str(world[1].path), "--store", place, "--out", str(out), "--device", "cpu", "--json"]
    store.add_events(later(world[1]))
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(out.glob("refresh-*.json"))) == 1
    store.add_events([Event("too late", "i1")])
    done = subprocess.run(
        [sys.executable, "-m", "interlingua", *arguments], capture_output=True, text=True, check=True
    )  # fmt: skip
    assert "continuing the refresh that was interrupted" in done.stderr
    assert "prepare refresh" in done.stderr.split("reusing")[0].splitlines()[-1]
    found = json.loads(done.stdout)
    assert found["counts"]["new_events"] == 40
    assert not list(out.glob("refresh-*.json"))
    assert next(model.events for model in store.models() if model.version == found["version"]) == 40


def test_a_forgotten_user_is_in_no_refresh_that_is_continued(
    world: tuple[Path, Session], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, items = tmp_path / "runs", [str(item) for item in world[1].data.interactions.item_ids[:4]]
    store.add_events([Event("zoe", item) for item in items])
    with monkeypatch.context() as patch:
        patch.setattr("interlingua.runs.stages.train", _stopped)
        with pytest.raises(KeyboardInterrupt):
            refresh(world[1].path, store, out=out, device="cpu")
    (begun,) = (out / "frames").glob("refresh-*")
    store.forget(user_id="zoe")
    found = refresh(world[1].path, store, out=out, device="cpu")
    assert not begun.exists()
    assert "zoe" not in interlingua.load(Path(str(found.path)), device="cpu").train.user_indices


def _stopped(session: Session) -> None:
    raise KeyboardInterrupt
