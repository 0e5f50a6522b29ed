"""``interlingua bench`` on a file that somebody brings: what it says first, what it runs, resumes and leaves out."""

from __future__ import annotations

import json
import re

import polars as pl
import pytest
from typer.testing import CliRunner

from interlingua.bench import running
from interlingua.bench.jobs import Job, Request, jobs_of, missing, recipe_of
from interlingua.bench.spec import WHOLE, known, load_spec
from interlingua.bench.whole import plan_of, run
from interlingua.cli.main import app
from interlingua.data.label import LabelConfig
from interlingua.data.prepare import prepare_raw, save
from interlingua.data.raw import Log
from interlingua.data.sources.planted import PlantedConfig, world
from interlingua.errors import ConfigError, DataError

FAST = ("data.filter.min_user=3", "data.filter.min_item=2", "backbone.fit.epochs=1", "backbone.embedding_dim=8")
QUICK = ["popularity", "text kNN"]


def csv(folder, name, seed):
    """A small file of events, as people have them: user, item, title and time."""
    tables = world(PlantedConfig(num_users=110, num_items=40, cold_share=0.0, history=8), seed)
    titles = tables.items.select("item_id", "title")
    events = tables.events.join(titles, on="item_id").select(
        pl.col("user_id").alias("user"), pl.col("item_id").alias("item"), "title",
        (pl.col("timestamp") + 1_600_000_000).alias("time"),
    )  # fmt: skip
    events.write_csv(folder / name)
    return str(folder / name)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return {"own": csv(folder, "mine.csv", 1), "other": csv(folder, "theirs.csv", 2), "out": folder / "runs"}


@pytest.fixture(scope="module")
def first(files):
    """One whole comparison of quick rows, by the command line."""
    save = files["out"].parent / "found.json"
    arguments = [
        "bench", "a-llmrec", "--data", files["own"], "--target", files["other"], "--tables", "1,5,6,7,order",
        *(f"--methods={name}" for name in QUICK), "--seeds", "2", "--budget", "10min",
        *(f"--set={each}" for each in FAST), "--out", str(files["out"]), "--save", str(save), "--json",
    ]  # fmt: skip
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), json.loads(save.read_text()), done.stderr, arguments


def table(found, number):
    return next(each for each in found["tables"] if each["table"] == number)


def test_it_says_what_it_will_run_before_it_starts(first):
    _, _, said, _ = first
    before, _, _ = said.partition("[1/")
    assert "will run" in before
    assert "popularity, whole, seed 7: about" in before
    line = next(each for each in before.splitlines() if each.startswith("  SASRec, whole, seed 7"))
    assert "the reference: others are tested against it in tables 1, " in line
    assert sum("the reference" in each for each in before.splitlines() if "popularity" in each) == 0


def test_a_dry_run_says_the_plan_alone_and_each_note_once(files):
    arguments = ["bench", "a-llmrec", "--data", files["own"], "--tables", "1,6", "--methods=popularity", "--dry-run",
                 *(f"--set={each}" for each in FAST), "--out", str(files["out"].parent / "dry")]  # fmt: skip
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    first, *_ = done.stdout.splitlines()
    assert first.startswith("will run")
    assert "| method |" not in done.stdout
    assert "SASRec, whole, seed 7: about" in done.stdout
    assert "table 6: few-shot" in done.stdout
    assert "table 4" not in done.stdout  # not asked for
    notes = [line for line in done.stderr.splitlines() if line.startswith("data: columns")]
    assert len(notes) == len(set(notes)) >= 1
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert (told["tables"], list(told["planned tables"]), list(told["references"])) == ([], ["1", "6"], ["SASRec"])


def test_data_that_cannot_be_read_are_said_once(tmp_path):
    (tmp_path / "bad.csv").write_text("colour,shape\nred,round\n", encoding="utf-8")
    arguments = ["--data", str(tmp_path / "bad.csv"), "--tables", "1,5,texts", "--out", str(tmp_path / "runs")]
    done = CliRunner().invoke(app, ["bench", "a-llmrec", *arguments, "--methods=popularity", "--dry-run"])
    assert isinstance(done.exception, DataError)
    assert str(done.exception).count("bad.csv") == 1
    assert "no column for" not in done.stderr
    assert not list((tmp_path / "runs").glob("*.partial"))  # nothing was begun that could go on


def test_a_row_that_breaks_is_shown_the_rest_goes_on_and_the_exit_code_says_so(files, monkeypatch):
    real = running.stages.run

    def run(recipe, **options):
        if recipe.name == "textknn":
            raise ValueError("a fault\nof the row")
        return real(recipe, **options)

    monkeypatch.setattr(running.stages, "run", run)
    arguments = ["--data", files["own"], "--tables", "1", *(f"--methods={name}" for name in reversed(QUICK))]
    arguments += [*(f"--set={each}" for each in FAST), "--out", str(files["out"])]
    done = CliRunner().invoke(app, ["bench", "a-llmrec", *arguments])
    assert done.exit_code == 2
    assert "error: 1 failed:\n  text kNN, whole, seed 7: ValueError: a fault\n" in done.stderr
    assert "| text kNN | – | failed |" in done.stdout
    assert re.search(r"\| popularity \| 1 \| \.\d{4}", done.stdout)
    found = CliRunner().invoke(app, ["bench", "a-llmrec", *arguments, "--json"])
    assert found.exit_code == 2
    assert json.loads(found.stdout)["failed"] == {"text kNN, whole, seed 7": "ValueError: a fault"}


def test_the_tables_have_values_with_intervals_and_the_papers_numbers_apart(first):
    found, saved, _, _ = first
    assert found["tables"] == saved["tables"]
    one = table(found, "1")
    assert [row["method"] for row in one["rows"]] == QUICK
    for row in one["rows"]:
        cell = row["Hit@1 of 20"]
        assert cell["low"] <= cell["value"] <= cell["high"]
        assert cell["seeds"] == 2
        assert cell["spread"] == 0  # nothing here draws a number
    assert one["paper"]["Beauty"]["rows"]["SASRec"] == 0.5298
    assert one["paper"]["Beauty"]["marked"] == "other data, other LM"
    assert "Beauty" not in one["rows"][0]


def test_tests_are_over_users_and_seeds(first):
    test = table(first[0], "1")["tests"][0]
    assert test["against"] == "SASRec"
    assert test["seeds"] == 2
    assert test["p_holm"] >= test["p"]
    assert len(test["by seed"].split()) == 2


def test_scenarios_are_measured_and_what_the_data_do_not_allow_is_named(first):
    found = first[0]
    assert {"two shown", "one shown", "none shown"} <= table(found, "5")["rows"][0].keys()
    assert "256 users" in found["settings that the data do not allow"]
    assert "64 users" in table(found, "6")["rows"][0]
    assert any(note.startswith("text kNN, 256 users") for note in table(found, "6")["notes"])
    columns = {each["name"]: each for each in table(found, "6")["columns"]}
    assert (len(columns["64 users"]["users"]), columns["64 users"]["not tested"]) == (1, None)
    assert columns["256 users"]["not tested"] == "SASRec has no value in '256 users'"
    assert {test["column"] for test in table(found, "6")["tests"]} == {"64 users"}
    across = {row["method"]: row["Hit@1 of 20"]["value"] for row in table(found, "7")["rows"]}
    assert set(across) == {"text kNN"}
    assert any("from texts" in note for note in table(found, "7")["notes"])
    moved = {row["method"]: row["users with another rank"]["value"] for row in table(found, "order")["rows"]}
    assert moved["popularity"] == 0


def test_the_candidates_that_all_rank_are_stored(first, files):
    found = first[0]["candidates"]["whole, sampled-20"]
    frame = pl.read_parquet(files["out"] / "candidates" / found["file"])
    assert {"user_id", "targets", "candidates"} == set(frame.columns)
    sizes = frame["candidates"].list.len()
    assert sizes.max() == 20
    for line in frame.iter_rows(named=True):
        assert set(line["targets"]) <= set(line["candidates"])


def test_it_is_measured_once_and_goes_on_where_it_was(first, files):
    found, _, _, arguments = first
    again = CliRunner().invoke(app, arguments)
    assert json.loads(again.stdout)["tables"] == found["tables"]
    assert "finished before" in again.stderr
    assert not re.search(r"(train|embed|evaluate) \S+: running", again.stderr)
    assert json.loads(again.stdout)["planned_seconds"] == 0


def test_a_budget_leaves_out_what_has_no_room_and_names_it(files):
    spec = load_spec("a-llmrec")
    request = Request(files["own"], files["out"], (7, 8, 9, 10), FAST)
    made = plan_of("a-llmrec", spec, request, tables=["1"], methods=["popularity", "GRU4Rec"], budget=1e-6)
    left = made.choice.left_out
    assert "GRU4Rec, whole, seed 10" in left
    assert "popularity, whole, seed 7" not in left  # finished before: it costs nothing
    run(made, budget=1e-6)
    assert set(made.made()[0].cells) == {"popularity"}
    assert "left out by the budget" in made.markdown()


def test_rows_without_a_recipe_are_skipped_by_name(files, tmp_path):
    spec = load_spec("a-llmrec")
    methods = dict(spec.methods)
    methods["popularity"] = methods["popularity"].model_copy(update={"recipe": "not-yet"})
    spec = spec.model_copy(update={"methods": methods})
    made = plan_of("x", spec, Request(files["own"], files["out"], (7,), FAST), tables=["1"], methods=QUICK)
    assert made.skipped == {"popularity": "there is no recipe 'not-yet' (yet)"}
    assert {job.row for job in made.choice.jobs} == {"text kNN", "SASRec"}


def test_a_row_that_fails_is_named_and_the_rest_goes_on(files):
    request = Request(files["own"], files["out"], (7,), (*FAST, "data.label=null"))
    made = plan_of("a-llmrec", load_spec("a-llmrec"), request, tables=["1", "liked"], methods=["text kNN", "item kNN"])
    assert "liked" in made.undivided  # the file has no ratings
    run(made)
    assert made.made()[0].cells["text kNN"]


@pytest.mark.parametrize("name", known())
def test_every_comparison_is_whole(name):
    spec = load_spec(name)
    assert spec.source
    assert spec.differs
    for number, each in spec.tables.items():
        jobs = jobs_of({number: each}, (7, 8))
        assert len(set(jobs)) == len(jobs)
        assert {job.setting for job in jobs} <= {WHOLE, *spec.settings}
        for values in each.paper.values():
            assert set(values) <= set(each.rows), number


@pytest.mark.parametrize("name", known())
def test_rows_that_are_here_resolve(name, prepared_world):
    """Their overrides name options that exist, and pairs that work together."""
    spec = load_spec(name)
    for row, options in spec.methods.items():
        if not missing(options):
            recipe = recipe_of(spec, Job(row, WHOLE, 7), prepared_world, Request(str(prepared_world)), ["full"])
            assert recipe.evaluate.protocols == ["full"]


@pytest.fixture(scope="module")
def prepared_world(tmp_path_factory):
    """With labels, which some rows need."""
    tables = world(PlantedConfig(num_users=30, num_items=20), 1)
    tables.events = tables.events.with_columns(
        pl.Series("rating", [1.0, 5.0] * (tables.events.height // 2 + 1))[: tables.events.height]
    )
    return save(
        prepare_raw(tables, label=LabelConfig(at_least=4), log=Log(quiet=True)), tmp_path_factory.mktemp("w") / "w"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [({"tables": ["17"]}, "unknown table '17'"), ({"methods": ["SASREC"]}, "unknown method 'SASREC'")],
)
def test_unknown_tables_and_rows_are_refused(files, options, said):
    with pytest.raises(ConfigError, match=said):
        plan_of("a-llmrec", load_spec("a-llmrec"), Request(files["own"], files["out"]), **options)


def test_without_a_budget_nothing_is_estimated(tmp_path) -> None:
    arguments = ["bench", "a-llmrec", "--data", "planted", "--methods", "popularity", "--tables", "1"]
    arguments += ["--set", "data.options={num_users=120,num_items=60}", "--out", str(tmp_path), "--device", "cpu"]
    with_budget = CliRunner().invoke(app, [*arguments, "--budget", "1s"]).stderr
    assert re.search(r"estimating \d of \d: popularity", with_budget)
    without = CliRunner().invoke(app, arguments).stderr
    assert "estimating" not in without
    assert re.search(r"will run \d jobs \(--dry-run estimates them\):", without)


def test_a_further_recipe_of_all_round_is_measured_beside_the_rows_that_were_named() -> None:
    words = ["bench", "all-round", "--data", "planted", "--tables", "leave-one-out", "--dry-run", "--json"]
    words += ["--set", "data.options={num_users = 40, num_items = 20}", "--recipe", "itemknn"]
    for methods in (["--methods", "popularity"], ["--methods", "popularity", "--methods", "itemknn"]):
        made = CliRunner().invoke(app, [*words, *methods], catch_exceptions=False)
        assert made.exit_code == 0
        assert list(json.loads(made.stdout)["planned"]) == ["leave-one-out: popularity", "leave-one-out: itemknn"]
