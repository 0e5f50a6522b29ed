"""Whatever describes items is read, or refused at its place: frames, mappings, files, ids, columns, empty batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from tests.runs.new_items_world import RECIPES, Make, line

from interlingua.errors import ConfigError, DataError
from interlingua.runs.new_items import lines_of
from interlingua.runs.shelf import Changed


def test_frames_of_every_kind_and_a_file(make: Make, tmp_path: Path) -> None:
    made, one = make(RECIPES["textknn"]), line(3, item_id="n1")
    pl.DataFrame([one]).write_csv(tmp_path / "new.csv")
    frames = (
        one,
        [one],
        pl.DataFrame([one]),
        pd.DataFrame([one]),
        tmp_path / "new.csv",
        {k: [v] for k, v in one.items()},
    )
    for given in (*frames, {"id": "n1", "name": one["title"], "genre": one["categories"], "plot": one["description"]}):
        made.add_items(given)
        assert made.recommend(history=["i3"], k=1)[0].item_id == "n1"
        made.remove_items("n1")
    for wrong, word in (({"title": "x"}, "item_id"), ([{"item_id": "a"}, {"item_id": None}], "item 2"), ([3], "3"),
                        ([{"item_id": "a", "available": "perhaps"}], "perhaps")):  # fmt: skip
        with pytest.raises((ConfigError, DataError), match=word):
            made.add_items(wrong)
    assert made.train.num_items == 40


@pytest.mark.parametrize("others", [[], [{"item_id": "n2", "title": "Space", "price": "cheap"}]])
def test_nan_is_no_value_and_infinity_is_refused(make: Make, others: list[dict[str, Any]]) -> None:
    made = make(RECIPES["textknn"])
    made.add_items(line(8, item_id="n0", price=5))
    for nan in (float("nan"), np.float32("nan")):
        for given in ([line(3, item_id="n1", price=nan), *others], pl.DataFrame({"item_id": ["n1"], "price": [nan]})):
            made.add_items(given)
            for filters in ("price > 1000", "price < 1000"):
                assert made.recommend(history=["i3"], filters=filters, items=["n1"]) == []
            assert [one.item_id for one in made.recommend(history=["i3"], filters="price is None", items=["n1"])]
    for infinite in (float("inf"), -np.inf, np.float32("inf")):
        for given in (
            [line(3, item_id="n1", price=infinite), *others],
            pl.DataFrame({"id": ["n1"], "price": [infinite]}),
        ):
            with pytest.raises(DataError, match=r"item 1 of \d: price is .*inf.*; give a finite number"):
                made.add_items(given)


@pytest.mark.parametrize("wrong", [float("nan"), np.float64("nan"), None, "", " ", "\t\n", True, False])
def test_what_is_no_id_is_refused_at_its_place(make: Make, wrong: Any) -> None:
    made, n = make(RECIPES["textknn"]), make(RECIPES["textknn"]).train.num_items
    word = r"2 of 2: {} is (True|False); an id is" if isinstance(wrong, bool) else "2 of 2 has no {}"
    for first in ("a", 7, 7.5):
        for name in ("item_id", "id"):
            with pytest.raises(DataError, match="item " + word.format("item_id")):
                made.add_items([{name: first, "title": "Space"}, {name: wrong, "title": "Space"}])
        for role in ("item_id", "user_id"):
            two = [
                {"user_id": first, "item_id": "i3"} | ({role: each} if each is not first else {})
                for each in (first, wrong)
            ]
            with pytest.raises(DataError, match="event " + word.format(role)):
                made.add_events(two)
    with pytest.raises(DataError, match="item 1 of 1"):
        made.add_items(pl.DataFrame({"item_id": [wrong], "title": ["Space"]}))
    assert made.train.num_items == n


def test_ids_of_several_kinds_are_written_as_they_are_asked_for(make: Make) -> None:
    made = make(RECIPES["textknn"])
    titles = [{"item_id": each, "title": "Space"} for each in (5.0, "a", 6, np.int64(7), 1.5)]
    assert made.add_items(titles).added == ("5", "a", "6", "7", "1.5")
    assert made.item_row(5.0) == made.item_row("5")
    assert made.add_items([{"item_id": each, "title": "Space"} for each in (8.0, 6.5)]).added == ("8", "6.5")
    assert made.item_row(8.0) == made.item_row("8")


def test_one_mapping_may_have_lists_and_columns_may_be_arrays(make: Make) -> None:
    made = make(RECIPES["textknn"])
    assert (
        made.add_items({"item_id": "n1", "title": "A Film", "categories": ["Space", float("nan"), "War"]}).notes == ()
    )
    for category in ("War", "Space"):
        found = made.recommend(history=[], filters={"categories": category}, items=["n1"])
        assert [one.item_id for one in found] == ["n1"]
    titles = np.array(["One", "Two"])
    assert made.add_items({"item_id": np.array(["n2", "n3"]), "title": titles}).added == ("n2", "n3")
    assert made.add_items({"item_id": ["n4", "n5"], "title": "The same"}).added == ("n4", "n5")


def test_a_column_by_both_of_its_names_is_refused(make: Make) -> None:
    recommender = make(RECIPES["textknn"])
    names = recommender.session.data.catalogue.names
    assert all(names.get(column, column) == column for column in ("title", "categories"))
    both = {"item_id": "b1", "title": "The Lost Nebula", "categories": "Space", "genre": "Cooking"}
    catalogue = replace(recommender.session.data.catalogue, names={"categories": "genre"})
    with pytest.raises(DataError, match="both 'categories' and 'genre', its name in the run's own data"):
        lines_of(both, catalogue)
    lines, _, _ = lines_of({key: value for key, value in both.items() if key != "categories"}, catalogue)
    assert lines["categories"].to_list() == ["Cooking"]


def test_an_empty_batch_changes_nothing(make: Make) -> None:
    made = make(RECIPES["textknn"])
    for nothing in (
        [],
        (),
        pl.DataFrame(),
        pd.DataFrame(),
        pl.DataFrame({"item_id": [], "title": []}),
        {"item_id": []},
    ):
        assert made.add_items(nothing) == Changed()
        assert made.add_events(nothing) == 0
        assert made.add_events(nothing, "key") == 0
    assert made.add_events({"user_id": "zoe", "item_id": "i3"}, "key") == 1


def test_repeated_ids_of_a_batch_are_counted(make: Make) -> None:
    made = make(RECIPES["textknn"])
    names = (("n1", "Space One"), ("n1", "Space Two"), (7, "Space Seven"), ("7", "Space Eight"), ("n1", "Space Three"))
    changed = made.add_items([{"item_id": item, "title": title} for item, title in names])
    assert changed.added == ("7", "n1")
    assert changed.notes == ("3 of 5 lines repeat an item_id: the last line of each counts",)
    assert [made.titles[made.item_row(item)] for item in changed.added] == ["Space Eight", "Space Three"]
