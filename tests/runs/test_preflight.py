"""What is missing is said in one line before anything runs; estimates come from the data at hand; doctor."""

from __future__ import annotations

import json
import math
from collections import namedtuple
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.test_docs import interlingua

from interlingua import registry
from interlingua.cli.run import planned
from interlingua.config import FitConfig
from interlingua.data.prepare import prepare, save
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError, DataError
from interlingua.runs import preflight, stages
from interlingua.runs import recipe as recipes
from interlingua.runs.estimate import Estimator, epochs_of
from interlingua.runs.planner import describe
from interlingua.runs.session import Session
from interlingua.runtime import missing

SMALL = ("data.options={num_users=60, num_items=40}", "data.filter={min_user=0, min_item=0}")


def session(name: str, out: Path, *sets: str) -> Session:
    return Session(recipes.load(name, [*SMALL, *sets], data="planted"), out)


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """This machine as if it had not these packages."""
    real = missing.find_spec
    monkeypatch.setattr(missing, "find_spec", lambda name: None if name in packages else real(name))


def test_one_line_names_everything_of_every_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "sentence_transformers", "transformers", "gguf")
    with pytest.raises(ConfigError) as caught:
        stages.run("aligned-mixture", out=tmp_path / "runs", data="planted", overrides=SMALL)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert all(name in text for name in ("sentence_transformers", "transformers", "gguf"))
    assert text.count("pip install") == 1
    assert not (tmp_path / "runs").exists()  # nothing ran


def test_models_and_files_that_are_not_here(tmp_path: Path) -> None:
    made = session(
        "aligned-mixture", tmp_path, f"ranker.model={tmp_path / 'nothing'}", "text.name=npy", "text.path=gone.npy"
    )
    whats = [lack.what for lack in preflight.lacking(made)]
    assert f"the language model at {tmp_path / 'nothing'}" in whats
    assert "the file gone.npy (path)" in whats


def test_a_hub_model_without_the_hub_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (lack,) = missing.hub_model("nobody/no-such-model", None, "language model")
    assert "HF_HUB_OFFLINE" in lack.what
    assert "downloaded copy" in lack.get


def test_data_that_is_nowhere_is_part_of_the_same_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "sentence_transformers")
    made = Session(recipes.load("rlmrec-con", data="no-such-data"), tmp_path)
    text = missing.sentence(preflight.lacking(made))
    assert "no-such-data" in text
    assert "sentence_transformers" in text


def test_a_full_disk_is_seen_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda place: usage(100, 100, 1000))
    with pytest.raises(ConfigError, match="room on the disk"):
        preflight.check([session("pop", tmp_path / "deep" / "runs")])


def test_finished_stages_need_nothing_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages.run("pop", out=tmp_path, data="planted", overrides=SMALL)
    made = session("pop", tmp_path)
    monkeypatch.setattr(type(made.recipe.backbone.config), "lacks", lambda self: 1 / 0)  # type: ignore[union-attr]
    assert preflight.lacking(made) == []


def test_epochs_with_early_stopping_have_a_range() -> None:
    assert epochs_of(FitConfig(epochs=30), 10) == (30, 30, 30)
    expected, low, high = epochs_of(FitConfig(epochs=1000, patience=5, evaluate_every=2, patience_steps=0), 100)
    assert (low, high) == (12, 1000)
    assert expected == round(math.sqrt(12 * 1000))  # nothing is further from both ends than it must be
    assert max(expected / low, high / expected) == pytest.approx(math.sqrt(high / low), rel=0.01)
    assert epochs_of(FitConfig(epochs=1000, patience=1, patience_steps=700), 100)[1] == 1 + 7


def test_estimates_count_this_data(tmp_path: Path) -> None:
    fit = ("backbone.fit.epochs=3", "backbone.fit.patience=null", "backbone.embedding_dim=8")
    made = session("mf", tmp_path, *fit)
    rows = {row["stage"]: row for row in describe(made)}
    real = stages.run(made.recipe, out=tmp_path)
    train = real.done["train"].card
    assert rows["train"]["parameters"] == str(train["parameters"]) or rows["train"]["parameters"].endswith("k")
    steps = math.ceil(len(real.data.split.train) / made.recipe.backbone.config.fit.batch_size)  # type: ignore[union-attr]
    assert f"{steps:,} steps an epoch" in rows["train"]["note"]
    assert "60 users" in rows["prepare"]["note"]
    low, expected, high = rows["train"]["seconds"]
    assert 0 <= low <= expected <= high
    again = {row["stage"]: row for row in describe(session("mf", tmp_path, *fit))}
    assert all(row["cached"] and row["time"] == "0 s" for row in again.values())


@pytest.mark.parametrize("name", ["ease", "itemknn", "textknn", "rlmrec-con", "lightgcn"])
def test_every_kind_of_recipe_gets_estimates(name: str, tmp_path: Path) -> None:
    lsa = ("text.name=lsa", "text.users=items", "text.reduce=null") if name == "rlmrec-con" else ()
    found = Estimator(session(name, tmp_path, *lsa)).all()
    assert all(math.isfinite(one.seconds) and one.memory_bytes > 0 for one in found.values()), found


def test_an_estimate_trains_no_codebooks_of_an_aligner(tmp_path: Path) -> None:
    """All epochs are counted, and one is tried."""
    sets = ("align.name=masked-vq", "align.frozen=['backbone']", "align.quantiser={size=8, hidden=[8], code_dim=4}")
    few, many = (
        Estimator(session("mf", tmp_path, *sets, f"align.quantiser.epochs={epochs}")).all()["align"].seconds
        for epochs in (10, 10**8)
    )
    assert 0 < few < 60 < 10**4 < many < 10**9


def test_the_dry_run_tells_time_and_range(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [word for one in SMALL for word in ("--set", one)]
    assert interlingua(["run", "pop", "--data", "planted", "--out", str(tmp_path), "--dry-run", *sets]) == 0
    out = capsys.readouterr().out
    assert "in all (" in out.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_doctor_says_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert interlingua(["doctor", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["packages"]["torch"]
    assert set(found["extras"]) == {"text", "llm", "api", "serve", "ann"}
    assert found["datasets"]["planted"] == "generated"
    assert interlingua(["doctor"]) == 0
    assert "cores" in capsys.readouterr().out


def test_data_that_cannot_be_read_end_a_dry_run_in_words(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user,item,time\na,x,1\na,y,2\nb,x,3\n", encoding="utf-8")
    dry = Session(recipes.load("itemknn", ["data.filter.min_user=99"], data=str(path)), tmp_path / "runs", 7, "cpu")
    with pytest.raises(DataError, match="none is left after the filter"):
        planned(dry, as_json=False)


def test_a_dry_run_says_what_decides_over_a_prepared_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save(generate(num_users=30, num_items=20, seed=1), tmp_path / "given")
    dry = Session(recipes.load("itemknn", ["data.filter.min_user=2"], data=str(folder)), tmp_path / "runs", 7, "cpu")
    planned(dry, as_json=False)
    said = capsys.readouterr().err
    assert "--set changes its filter" in said
    assert "follows this command's --seed" in said


@pytest.mark.parametrize("name", ["mmrec", "rec-icl", "pop"])
def test_data_without_labels_are_refused_before_anything_is_trained(name: str, tmp_path: Path) -> None:
    """A prepared folder's own label holds, also where the recipe has one: it was found out by the measurement."""
    save(generate(num_users=60, num_items=40, seed=3), tmp_path / "plain")
    found = recipes.load(name, ['evaluate.protocols=["labelled"]'], data=str(tmp_path / "plain"))
    with pytest.raises(DataError, match=r"'labelled' cannot be measured: the data have no labels.*data\.label"):
        stages.run(found, out=tmp_path / "runs", device="cpu")
    made = [path.name.split("-")[0] for path in (tmp_path / "runs").iterdir() if not path.name.startswith(".")]
    assert made == ["prepare"]
    with pytest.raises(DataError, match="have no labels"):
        planned(Session(found, tmp_path / "others"), as_json=False)


def test_what_was_warned_of_at_preparation_is_said_at_every_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pl.DataFrame({"user": list("aaaabbbb"), "item": list("wxyzwxyz")})
    save(prepare(frame, quiet=True), tmp_path / "untimed")
    stages.run("pop", out=tmp_path / "runs", data=str(tmp_path / "untimed"), device="cpu")
    said = [line for line in capsys.readouterr().err.splitlines() if "as it was prepared" in line]
    assert any("time" in line or "order" in line for line in said)


HEADS = {
    name: [each for each in registry.find("backbone", name).Config.model_fields if each.endswith("heads")]
    for name in registry.names("backbone")
    if "embedding_dim" in registry.find("backbone", name).Config.model_fields
}


@pytest.mark.parametrize(("name", "heads"), [(name, each) for name, found in HEADS.items() for each in found])
def test_heads_that_do_not_divide_the_width_are_refused_when_a_recipe_is_read(name: str, heads: str) -> None:
    values = {"data": {"name": "planted"}, "backbone": {"name": name, "embedding_dim": 63, heads: 5}}
    with pytest.raises(ConfigError, match=f"embedding_dim = 63 is not divisible by {heads} = 5"):
        recipes.resolve(values, "odd")
