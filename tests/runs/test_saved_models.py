"""A saved model opens elsewhere, with the data and the runs folder gone, answers as before, and holds nobody."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tests.saved_models import (
    FIT,
    HISTORY,
    METHODS,
    STEPS,
    TIME,
    USER,
    Saved,
    answers,
    contents,
    values_of,
)

import interlingua
from interlingua import registry
from interlingua.config import build
from interlingua.contracts.fitting import Fitting
from interlingua.data.anonymous import to_give_away
from interlingua.data.sources.planted import generate
from interlingua.errors import ArtifactError, ConfigError, DataError
from interlingua.runs import left_out, stages
from interlingua.runs import recipe as recipes
from interlingua.runs.export import embed
from interlingua.runs.section import Section
from interlingua.vectors.frozen import FrozenRows


@pytest.mark.parametrize("name", METHODS)
def test_it_answers_as_at_home(name: str, saved: Callable[[str], Saved]) -> None:
    made = saved(name)
    opened = interlingua.from_pretrained(made.folder, **made.options)
    assert answers(opened) == made.answers
    assert made.answers[3], "nothing is similar: the comparison would say nothing"
    assert opened.source == str(made.folder)
    with pytest.raises(DataError, match="saved without its users"):
        opened.recommend(user=USER.format(3))
    with pytest.raises(DataError, match="saved without its users"):
        opened.similar_users("nobody")


@pytest.mark.parametrize("name", METHODS)
def test_nobody_is_in_it(name: str, saved: Callable[[str], Saved]) -> None:
    folder = saved(name).folder
    text = contents(folder)
    assert "zebra" not in text  # part of every user id
    assert "secret-home" not in text  # part of every place at home
    assert (
        str(TIME)[:4] not in pl.read_parquet(next(folder.glob("prepare-*/dataset/interactions.parquet"))).write_json()
    )
    assert not [*folder.rglob("*.npz"), *folder.rglob("*.jsonl"), *folder.rglob("config.toml")]
    events = pl.read_parquet(next(folder.glob("prepare-*/dataset/interactions.parquet")))
    assert events["user_id"].unique().to_list() == ["nobody"]
    assert events["timestamp"].unique().to_list() == [0]
    for path in folder.rglob("*.safetensors"):
        sizes = {key: tuple(value.shape) for key, value in load_file(path).items()}
        assert not [key for key, shape in sizes.items() if 50 in shape], (path, sizes)  # there are 50 users


def test_with_events_users_come_along(given: dict[str, str], tmp_path: Path) -> None:
    session = stages.run(recipes.resolve(values_of("mf", given), "mf"), out=tmp_path / "runs", seed=3, device="cpu")
    home = interlingua.load(session)
    folder = home.save_pretrained(tmp_path / "model", events=True)
    away = interlingua.from_pretrained(folder)
    who = USER.format(7)
    assert away.recommend(user=who) == home.recommend(user=who)
    assert away.similar_users(who) == home.similar_users(who)
    assert "secret-home" not in contents(folder)
    assert "are inside this folder" in (folder / "README.md").read_text()
    again = away.save_pretrained(tmp_path / "again")
    assert "zebra" not in contents(again)
    with pytest.raises(ConfigError, match="leave out events=True"):
        interlingua.from_pretrained(again).save_pretrained(tmp_path / "more", events=True)


def test_a_model_that_reads_events_is_refused_before_anything_is_written(given: dict[str, str], tmp_path: Path) -> None:
    values = values_of("mf", given) | {"backbone": {"name": "ncf", "embedding_dim": 8, "fit": FIT}}
    home = interlingua.load(stages.run(recipes.resolve(values, "ncf"), out=tmp_path / "runs", seed=3, device="cpu"))
    (tmp_path / "closed").mkdir()
    with pytest.raises(ConfigError, match=r"'ncf' reads the training events whenever it scores .*events=True"):
        home.save_pretrained(tmp_path / "closed" / "model")
    assert not [*(tmp_path / "closed").iterdir()]
    opened = interlingua.from_pretrained(home.save_pretrained(tmp_path / "model", events=True))
    assert opened.recommend(history=HISTORY) == home.recommend(history=HISTORY)


def test_a_ranker_that_reads_events_is_refused_too_and_one_that_need_not_is_saved(
    given: dict[str, str], tmp_path: Path
) -> None:
    ranker = {"name": "gal-rec", "model": given["LM"], "history_length": 3, "max_title_tokens": 4, "queue_size": 16}
    homes = {}
    for neighbours in (2, 0):
        values = values_of("sasrec", given) | {"ranker": {**ranker, "neighbours": neighbours, "fit": STEPS}}
        run = stages.run(recipes.resolve(values, "gal-rec"), out=tmp_path / "runs", seed=3, device="cpu")
        homes[neighbours] = interlingua.load(run)
    (tmp_path / "closed").mkdir()
    with pytest.raises(ConfigError, match=r"'gal-rec' reads the training events whenever it scores.*events=True"):
        homes[2].save_pretrained(tmp_path / "closed" / "model")
    assert not [*(tmp_path / "closed").iterdir()]
    for neighbours, home in homes.items():
        folder = home.save_pretrained(tmp_path / str(neighbours), events=neighbours > 0)
        opened = interlingua.from_pretrained(folder, models={"./small-lm": given["LM"]}, device="cpu")
        assert opened.recommend(history=HISTORY) == home.recommend(history=HISTORY)


def test_of_all_backbones_only_ncf_needs_the_events(given: dict[str, str]) -> None:
    rows = torch.as_tensor(np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32))
    world = generate(num_users=50, num_items=40, seed=5, history=8)
    train, away = world.split.train, to_give_away(world).split.train
    train = replace(train, item_ids=np.array([f"i{row}" for row in range(40)]))  # of the given vectors
    refused = {}
    for name in registry.names("backbone"):
        cls = registry.find("backbone", name)
        options = {
            k: v for k, v in {"items": given["VECTORS"], "max_history": 6}.items() if k in cls.Config.model_fields
        }
        section = Section("backbone", name, cls, build(cls.Config, options, name))
        torch.manual_seed(3)
        backbone = cls(section.config, train)
        if cls.sampling == "none":
            backbone.fit(Fitting(train, text=FrozenRows(rows)))
        else:
            backbone.read_catalogue(world.catalogue)
            backbone.start(train, FrozenRows(rows))
            backbone.finish()
        if why := left_out._differs(backbone.eval(), section, away):
            refused[name] = why
    assert list(refused) == ["ncf"], refused


def test_saved_again_it_is_the_same(saved: Callable[[str], Saved], tmp_path: Path) -> None:
    for name in ("itemknn", "lightgcn", "kv"):
        made = saved(name)
        opened = interlingua.from_pretrained(made.folder, **made.options)
        again = interlingua.from_pretrained(opened.save_pretrained(tmp_path / name), **made.options)
        assert answers(again) == made.answers


def test_adapters_travel_in_pefts_layout(saved: Callable[[str], Saved]) -> None:
    (folder,) = saved("lora").folder.glob("rank-*/adapters")
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "small-lm"
    assert load_file(folder / "adapter_model.safetensors")


def test_the_page_says_what_it_is(saved: Callable[[str], Saved]) -> None:
    page = (saved("aligned").folder / "README.md").read_text(encoding="utf-8")
    _, front, body = page.split("---\n", 2)
    read = yaml.safe_load(front)
    assert read["library_name"] == "interlingua"
    assert {"mf", "lsa", "ridge"} <= set(read["tags"])
    (result,) = read["model-index"][0]["results"]
    stored = {each["name"]: each["value"] for each in result["metrics"]}
    metrics = saved("aligned").answers[4]["full"]
    assert stored == {f"{name} (full)": round(value, 4) for name, value in metrics.items()}
    assert "50 users, 40 items" in body
    assert "No event, no id of a user" in body
    low, high = saved("aligned").answers[5]["full"]["ndcg@10"]
    assert f"| ndcg@10 | {metrics['ndcg@10']:.4f} | {low:.4f} to {high:.4f} |" in body
    assert "protocol `full; split=" in body


def test_a_page_names_a_folder_as_one_and_tables_of_ones_own_so(tmp_path: Path) -> None:
    events = pl.DataFrame({"user_id": [f"u{n % 5}" for n in range(30)], "item_id": [f"i{n % 7}" for n in range(30)]})
    overrides = ["data.filter.min_user=0", "data.filter.min_item=0"]
    made = interlingua.load(interlingua.run("pop", data=events, overrides=overrides, out=tmp_path / "runs"))
    page = (made.save_pretrained(tmp_path / "pop") / "README.md").read_text(encoding="utf-8")
    assert 'interlingua.from_pretrained("path/to/pop")' in page
    assert "own data: 5 users, 7 items" in page
    assert '"dataset": {"type": "own data", "name": "own data"}' in page
    assert "frame-" not in page.split("```toml")[0] + page.split("## Data")[1]


def test_the_page_is_one_that_the_hub_reads(saved: Callable[[str], Saved]) -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(saved("mf").folder / "README.md")
    assert card.data.library_name == "interlingua"
    assert any(result.metric_type == "ndcg@10" for result in card.data.eval_results)


def test_without_users_there_is_nothing_to_measure_or_to_write_out(saved: Callable[[str], Saved]) -> None:
    session = interlingua.from_pretrained(saved("mf").folder).session
    with pytest.raises(ConfigError, match="nothing to measure it on"):
        stages.reevaluate(session, session.recipe.evaluate)
    with pytest.raises(ConfigError, match="no vectors of theirs"):
        embed(session)
    with pytest.raises(ArtifactError, match="holds no evaluation"):
        _ = session.reports


def test_commands_take_the_folder(saved: Callable[[str], Saved], tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from interlingua.cli.main import app

    folder = saved("itemknn").folder
    found = CliRunner().invoke(app, ["recommend", str(folder), "--history", ",".join(HISTORY), "--json"])
    assert found.exit_code == 0, found.output
    assert saved("itemknn").answers[0][0].item_id in found.output
    made = CliRunner().invoke(app, ["save", str(folder), str(tmp_path / "copy")])
    assert made.exit_code == 0, made.output
    assert interlingua.from_pretrained(tmp_path / "copy").recommend(history=HISTORY, k=8) == saved("itemknn").answers[0]
