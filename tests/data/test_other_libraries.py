"""Datasets for other libraries: the same events in the same parts, whatever ids and texts hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
import yaml
from typer.testing import CliRunner

from interlingua.cli.main import app, mount, own_commands
from interlingua.data.export import FORMS, export
from interlingua.data.prepare import load, prepare, save
from interlingua.data.prepared import Dataset
from interlingua.data.splitting import PARTS
from interlingua.errors import DataError

DAY = 86_400
ODD = ['say "hi"', "a,b", "ü € 好", "a'b", "#1", "x y", "\u2028z"]


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Users and items with odd ids, ratings, dates, categories of several words, and texts with tabs."""
    random = np.random.default_rng(3)
    items = [*ODD, *(f"i{n}" for n in range(9))]
    events = [
        {"user_id": f"u {user}", "item_id": items[item], "rating": random.integers(1, 6) / 2, "timestamp": DAY * when}
        for user in range(12) for when, item in enumerate(random.permutation(len(items))[:7], 15_000)
    ]  # fmt: skip
    texts = [
        {"item_id": item, "title": f"The\t{item}\nagain", "categories": "Sci-Fi & Fantasy, Drama", "price": n / 2}
        for n, item in enumerate(items)
    ]  # fmt: skip
    return prepare({"interactions": pl.DataFrame(events), "items": pl.DataFrame(texts)}, quiet=True)


def rows(data: Dataset, part: str) -> list[tuple[Any, ...]]:
    """(user, item, time, rating) of a part, sorted."""
    events, chosen = data.interactions, data.parts == PARTS.index(part)
    assert events.ratings is not None
    columns = (events.user_ids[events.users], events.item_ids[events.items], events.times, events.ratings)
    return sorted(zip(*(np.asarray(column)[chosen].tolist() for column in columns), strict=True))


def test_recboles_files_are_read_back_with_the_same_events_and_parts(data: Dataset, tmp_path: Path) -> None:
    folder = export(data, "recbole", tmp_path / "films")
    again = prepare(str(folder), split="given", quiet=True)
    for part in ("train", "valid", "test"):
        assert rows(again, part) == rows(data, part)
    titles = dict(zip(again.catalogue.items["item_id"], again.catalogue.items["title"], strict=True))
    assert titles["#1"] == "The #1 again"
    assert set(again.catalogue.categories) == {frozenset({"Sci-Fi_&_Fantasy", "Drama"})}
    options = yaml.safe_load((folder / "films.yaml").read_text())
    assert options["benchmark_filename"] == ["train", "valid", "test"]
    assert set(options["load_col"]["inter"]) == {"user_id", "item_id", "timestamp", "rating"}
    for kind, names in options["load_col"].items():
        header = (folder / f"films.{'train.inter' if kind == 'inter' else kind}").read_text().splitlines()[0]
        assert [name.split(":")[0] for name in header.split("\t")] == names


def test_an_id_that_an_atomic_file_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": ["a", "a", "a\tb"], "item_id": ["x", "y", "x"], "timestamp": [1, 2, 3]})
    with pytest.raises(DataError, match="holds a tab"):
        export(prepare(frame, quiet=True), "recbole", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_matrices_hold_every_event_once_and_the_ids_in_their_order(data: Dataset, tmp_path: Path) -> None:
    folder = export(data, "implicit", tmp_path / "out")
    users, items = (json.loads((folder / f"{name}_ids.json").read_text()) for name in ("user", "item"))
    for part in ("train", "valid", "test"):
        matrix = sp.load_npz(folder / f"{part}.npz").tocoo()
        assert matrix.shape == (len(users), len(items)) == (12, 16)
        found = [(users[user], items[item]) for user, item in zip(matrix.row, matrix.col, strict=True)]
        assert sorted(found) == [row[:2] for row in rows(data, part)]
        assert set(matrix.data) == {1.0}


def test_repeated_events_are_counted_in_the_matrix(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": ["a"] * 5, "item_id": ["x", "x", "x", "y", "z"], "timestamp": [1, 2, 3, 4, 5]})
    folder = export(prepare(frame, filter={"duplicates": "keep"}, quiet=True), "implicit", tmp_path / "out")
    assert sp.load_npz(folder / "train.npz").toarray().max() == 3.0


@pytest.mark.parametrize("form", ["rectools", "lenskit", "huggingface"])
def test_tables_hold_every_event_of_their_part(form: str, data: Dataset, tmp_path: Path) -> None:
    folder = export(data, form, tmp_path / "out")
    names = {"valid": "validation"} if form == "huggingface" else {}
    value, moment = ("weight", "datetime") if form == "rectools" else ("rating", "timestamp")
    for part in ("train", "valid", "test"):
        place = folder / "interactions" if form == "huggingface" else folder
        table = pl.read_parquet(place / f"{names.get(part, part)}.parquet")
        times = table[moment] if form == "huggingface" else table[moment].dt.epoch("s")
        found = zip(table["user_id"], table["item_id"], times, table[value].cast(pl.Float32), strict=True)
        assert sorted(found) == rows(data, part)


def test_features_are_of_trained_items_one_value_a_line(data: Dataset, tmp_path: Path) -> None:
    folder = export(data, "rectools", tmp_path / "out")
    found = pl.read_parquet(folder / "item_features.parquet")
    assert set(found["id"]) == {row[1] for row in rows(data, "train")}
    assert set(found.filter(pl.col("feature") == "categories")["value"]) == {"Sci-Fi & Fantasy", "Drama"}
    assert set(found["feature"]) == {"categories", "price"}


def test_the_card_names_the_files_that_there_are(data: Dataset, tmp_path: Path) -> None:
    folder = export(data, "huggingface", tmp_path / "out")
    head = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    named = [head["configs"][1]["data_files"], *(each["path"] for each in head["configs"][0]["data_files"])]
    assert sorted(named) == sorted(str(path.relative_to(folder)) for path in folder.rglob("*.parquet"))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_without_times_and_ratings(form: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": ["a", "a", "a", "b", "b", "b"], "item": list("xyzxyz")})
    assert any(export(prepare(frame, quiet=True), form, tmp_path / "out").rglob("*"))


def test_a_folder_that_holds_something_is_left_alone(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(DataError, match="holds something"):
        export(data, "implicit", tmp_path)
    with pytest.raises(DataError, match="did you mean 'recbole'"):
        export(data, "recbol", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command_takes_a_prepared_folder_with_its_split(data: Dataset, tmp_path: Path) -> None:
    mount(own_commands())
    save(data, tmp_path / "prepared")
    words = ["data", "export", str(tmp_path / "prepared"), "--to", "lenskit", "--out", str(tmp_path / "out"), "--json"]
    made = CliRunner().invoke(app, words, catch_exceptions=False)
    assert made.exit_code == 0
    assert "items.parquet" in made.stdout
    assert pl.read_parquet(tmp_path / "out" / "test.parquet").height == len(rows(load(tmp_path / "prepared"), "test"))
