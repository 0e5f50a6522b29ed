"""A prepared folder decides how it is split and filtered, unless the command line says otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from interlingua.data.prepare import FilterConfig, SplitConfig, load, prepare, prepare_config, save
from interlingua.data.sources.planted import generate
from interlingua.runs import recipe as recipes
from interlingua.runs.stages import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some users and items have fewer events than the shipped recipes' filters want."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(60), rng.integers(3, 9, 60))
    items, times = rng.integers(0, 40, len(users)), np.arange(len(users)) * 3600
    frame = pl.DataFrame({"user_id": users, "item_id": items, "timestamp": 1_600_000_000 + times}).unique(
        ["user_id", "item_id"], maintain_order=True
    )
    out = tmp_path_factory.mktemp("kept") / "d"
    prepared = prepare(
        frame, split=SplitConfig(name="ratio", valid=0.1, test=0.3), filter=FilterConfig(min_user=2), seed=3, quiet=True
    )
    save(prepared, out)
    return out


def test_a_shipped_recipe_leaves_the_folders_split_and_filter(folder: Path) -> None:
    recipe = recipes.load("itemknn", data=str(folder))
    assert recipe.data.split == SplitConfig(name="ratio", valid=0.1, test=0.3)
    assert recipe.data.filter.min_user == 2
    kept, used = load(folder), prepare_config(recipe.data, seed=99)
    assert used.fingerprint == kept.fingerprint
    (note,) = recipe.notes
    assert "prepared dataset" in note
    assert "ratio-0.6-0.1-0.3-random-seed3" in note
    assert "filter, split of the recipe: not used" in note


def test_what_is_measured_is_the_folder_and_it_is_said(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    session = run("itemknn", out=tmp_path, data=str(folder), overrides=('evaluate.protocols=["full"]',))
    assert session.data.fingerprint == load(folder).fingerprint
    said = [line for line in capfd.readouterr().err.splitlines() if "is a prepared dataset: its own split" in line]
    assert len(said) == 1


def test_the_command_line_decides_over_the_card(folder: Path) -> None:
    recipe = recipes.load("itemknn", ["data.split=leave-one-out"], data=str(folder))
    used, kept = prepare_config(recipe.data, 7), load(folder)
    assert used.split.protocol == "leave-one-out"
    assert len(used.interactions) == len(kept.interactions)  # the recipe's 5-core is not applied
    assert "split" in recipe.notes[0]


def test_one_option_of_the_split_keeps_the_cards_other_ones(folder: Path) -> None:
    split = recipes.load("itemknn", ["data.split.test=0.2"], data=str(folder)).data.split
    assert split == SplitConfig(name="ratio", valid=0.1, test=0.2)


def test_a_stronger_filter_splits_again_by_the_cards_rule(folder: Path) -> None:
    recipe = recipes.load("itemknn", ["data.filter.min_user=6"], data=str(folder))
    assert recipe.data.split == SplitConfig(name="ratio", valid=0.1, test=0.3)
    used = prepare_config(recipe.data, 7)
    assert 0 < used.interactions.num_users < load(folder).interactions.num_users
    assert used.interactions.user_counts.min() >= 6


def test_what_the_filter_keeps_is_kept_again(tmp_path: Path) -> None:
    world = generate(num_users=40, num_items=30).interactions
    twice = pl.DataFrame(
        {
            "user_id": np.tile(world.user_ids[world.users], 2),
            "item_id": np.tile(world.item_ids[world.items], 2),
            "timestamp": np.concatenate([world.times, world.times + world.times.max()]),
        }
    )
    save(prepare(twice, filter=FilterConfig(duplicates="keep"), quiet=True), tmp_path / "d")
    recipe = recipes.load("pop", ["data.split=ratio"], data=str(tmp_path / "d"))
    assert len(prepare_config(recipe.data, 7).interactions) == 2 * len(world)


def test_a_file_that_names_the_folder_is_told_what_it_does_not_decide(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(f'[data]\nname = "{folder}"\nsplit = "leave-one-out"\n[backbone]\nname = "pop"\n', encoding="utf-8")
    recipe = recipes.load(path)
    assert recipe.data.split.name == "ratio"
    assert "split of the recipe: not used (--set data.split=... is)" in recipe.notes[0]


def test_sources_that_are_not_prepared_follow_the_recipe() -> None:
    recipe = recipes.load("itemknn", data="planted")
    assert (recipe.data.split.name, recipe.data.filter.min_user, recipe.notes) == ("leave-one-out", 5, ())


def test_a_folder_found_by_its_name_is_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERLINGUA_DATA", str(folder.parent))
    recipe = recipes.load("itemknn", data="d")
    assert recipe.data.as_prepared
    assert prepare_config(recipe.data, 7).fingerprint == load(folder).fingerprint
