"""Events at the same time: a declared rule orders them, never the order of the rows in a file."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlingua.backbones.itemknn import ItemKnn
from interlingua.contracts.fitting import Fitting
from interlingua.data.clean import CleanConfig
from interlingua.data.filter import FilterConfig
from interlingua.data.prepare import SplitConfig, load, prepare, save
from interlingua.data.ties import id_hashes, pair_hashes
from interlingua.errors import DataError
from interlingua.evaluate.protocol import evaluate

S = 1_500_000_000
EVENT = st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 3), st.sampled_from([1.0, 2.5, None]))


def frame(rows, start=S):
    users, items, times, ratings = zip(*rows, strict=True)
    return pl.DataFrame(
        {
            "user": [f"u{u}" for u in users],
            "item": [f"i{i}" for i in items],
            "time": [start + t for t in times],
            "rating": list(ratings),
        }
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(EVENT, min_size=4, max_size=40),
    st.randoms(use_true_random=False),
    st.sampled_from(["leave-one-out", "ratio", "ratio-by-time", "global-time"]),
    st.sampled_from(["first", "last", "keep"]),
    st.sampled_from([S, 0]),
)
def test_shuffling_the_file_changes_nothing(rows, random, name, duplicates, start):
    by = {"by": "time"} if name == "ratio-by-time" else {}
    split = {"name": name.removesuffix("-by-time"), **by}
    shuffled = random.sample(rows, len(rows))
    options = {"filter": FilterConfig(duplicates=duplicates), "split": SplitConfig(**split), "quiet": True}
    found = []
    for each in (rows, shuffled):
        try:
            found.append(prepare(frame(each, start), **options).fingerprint)
        except DataError as error:
            found.append(str(error))
    assert found[0] == found[1]


def tied_world(seed=0, users=40, per_user=9):
    random = np.random.default_rng(seed)
    return [(u, i, int(t), None) for u in range(users) for i, t in zip(
        random.permutation(30)[:per_user], np.sort(random.integers(0, 3, per_user)), strict=True)]  # fmt: skip


def test_metrics_are_those_of_the_shuffled_file_to_the_last_bit():
    rows = tied_world()
    values = []
    for each in (rows, rows[::-1]):
        world = prepare(frame(each), quiet=True)
        model = ItemKnn(ItemKnn.Config(), world.split.train)
        model.fit(Fitting(world.split.train))
        report = evaluate(model, world.split, "test", resamples=0)
        values.append(report.metrics)
        assert any("a hash of user and item decided" in warning for warning in report.warnings)
    assert values[0] == values[1]


def test_the_rule_is_in_the_card_counted_and_can_be_undone(tmp_path):
    rows = [(0, 3, 5, None), (0, 1, 5, None), (0, 2, 5, None), (0, 4, 9, None), (1, 1, 1, None)]
    world = prepare(frame(rows), quiet=True)
    assert world.card["time"]["ties"] == "hash"
    tied = [d for d in world.card["decisions"] if "at the same time" in d["what"]]
    assert [(d["count"], d["undo"]) for d in tied] == [(3, 'clean.ties = "file"')]
    as_it_stands = prepare(frame(rows), clean=CleanConfig(ties="file"), quiet=True)
    assert as_it_stands.card["time"]["ties"] == "file"
    names = as_it_stands.interactions.item_ids[as_it_stands.interactions.history(0)].tolist()
    assert names == ["i3", "i1", "i2", "i4"]
    assert "the order of the file decided" in as_it_stands.split.notes[0]
    save(world, tmp_path / "d")
    assert load(tmp_path / "d").split.notes == world.split.notes


def test_a_fraction_of_a_second_goes_before_the_hash():
    rows = [("u", f"i{n}", S + 1 - n / 8) for n in range(8)]
    events = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    for each in (events, events.reverse()):
        world = prepare(each, quiet=True)
        names = world.interactions.item_ids[world.interactions.items].tolist()
        assert names == [f"i{n}" for n in reversed(range(1, 8))] + ["i0"]
        assert not [d for d in world.card["decisions"] if "at the same time" in d["what"]]


def test_a_prepared_dataset_that_is_prepared_again_keeps_its_order(tmp_path):
    rows = [("u", f"i{n}", S + n / 8) for n in range(8)]  # one second: only the fractions tell, and they are not stored
    first = prepare(pl.DataFrame(rows, schema=["user", "item", "time"], orient="row"), quiet=True)
    save(first, tmp_path / "d")
    again = prepare(str(tmp_path / "d"), split=SplitConfig(name="ratio", by="time"), quiet=True)
    assert again.interactions.items.tolist() == first.interactions.items.tolist()
    assert again.card["time"]["ties"] == "hash"


def test_titles_in_the_events_are_those_of_the_shuffled_file(tmp_path):
    rows = ["u,a,1,Alien", "u,b,2,Brazil", "v,a,1,Alien (1979)", "v,b,1,", "w,a,3,Alien"]
    found = []
    for name, lines in (("e", rows), ("f", rows[::-1])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["user,item,time,title", *lines]))
        found.append(prepare(str(tmp_path / f"{name}.csv"), quiet=True))
    assert found[0].catalogue.titles == found[1].catalogue.titles == ["Alien", "Brazil"]
    assert any("first by alphabet" in d["what"] for d in found[0].card["decisions"])


def test_no_item_comes_first_for_every_user():
    users, items = id_hashes(np.array([f"u{n}" for n in range(400)])), id_hashes(np.array(["a", "b"]))
    before = pair_hashes(users, np.full(400, items[0])) < pair_hashes(users, np.full(400, items[1]))
    assert 150 < int(before.sum()) < 250


def test_the_hash_never_changes():
    """Splits of released versions hang on these numbers."""
    assert id_hashes(np.array(["u1", "фильм"])).tolist() == [15378189911849802130, 7989554108387258588]
    assert int(pair_hashes(*(id_hashes(np.array([name])) for name in ("u1", "i1")))[0]) == 15839102705852125473


@pytest.mark.parametrize("times", [{}, {"time": [None, None, None, None]}])
def test_without_times_the_order_of_the_rows_decides_and_the_card_says_so(times):
    events = pl.DataFrame({"user": ["u"] * 4, "item": ["d", "b", "a", "c"], **times})
    world = prepare(events, quiet=True)
    assert world.card["time"]["ties"] == "rows"
    assert world.interactions.item_ids[world.interactions.items].tolist() == ["d", "b", "a", "c"]


@pytest.mark.data
def test_shuffled_movielens_has_the_same_split(data_root):
    ratings = pl.read_csv(data_root / "movielens-small" / "ratings.csv", infer_schema=False)
    shuffled = ratings.sample(fraction=1, shuffle=True, seed=5)
    assert prepare(ratings, quiet=True).fingerprint == prepare(shuffled, quiet=True).fingerprint
