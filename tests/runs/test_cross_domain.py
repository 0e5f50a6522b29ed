"""A run asked about another dataset: texts carry over, ids do not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from interlingua.cli.main import app
from interlingua.data.prepare import save
from interlingua.data.sources.planted import generate
from interlingua.evaluate.result import load_report
from interlingua.runs import cross_domain, stages
from interlingua.runs import recipe as recipes
from interlingua.runs.cross_domain import measure_across, scorer_over

LSA = {"name": "lsa", "dim": 16}
SASREC = {"name": "sasrec", "embedding_dim": 16, "max_history": 8, "num_blocks": 1, "fit": {"epochs": 8}}
METHODS = {
    "ids": {"backbone": {"name": "itemknn"}},
    "texts": {"text": LSA, "backbone": {"name": "textknn"}},
    "users": {
        "text": LSA,
        "backbone": {"name": "mf", "embedding_dim": 8, "fit": {"epochs": 2}},
        "align": {"name": "ridge", "frozen": ["backbone"]},
    },
    "aligned": {"text": LSA, "backbone": SASREC, "align": {"name": "ridge", "frozen": ["backbone"]}},
}


@pytest.fixture(scope="module")
def other():
    """Other users and items of the same themes, and so of the same words."""
    return generate(150, 60, seed=9, cold_share=0.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("across")
    own = save(generate(200, 80, seed=1), folder / "own")

    def make(method):
        values = {"data": {"name": str(own)}, **METHODS[method], "evaluate": {"protocols": ["full"]}}
        return stages.run(recipes.resolve(values, method), out=folder / "runs", seed=3, device="cpu")

    return make


def test_ids_alone_are_exactly_chance_and_say_so(run, other):
    made = measure_across(run("ids"), other, ["sampled-20", "full"])
    assert made.reports["sampled-20+expected"].metrics["hit@1"] == pytest.approx(0.05)
    assert "chance" in made.notes[0]


@pytest.mark.parametrize("method", ["texts", "aligned"])
def test_texts_are_carried_over(run, other, method):
    made = measure_across(run(method), other, ["sampled-20"])
    report = made.reports["sampled-20+expected"]
    assert report.intervals["hit@1"][0] > 0.05
    assert report.n_users == len(other.split.test)
    assert "from texts" in made.notes[0]


def test_only_the_other_datasets_items_are_candidates_and_all_of_it_is_behind_the_runs_own(run, other):
    session = run("texts")
    scorer, _ = scorer_over(session, other)
    queries = other.split.queries("test")
    whole = scorer.score(queries)
    assert whole.shape == (len(queries), len(other.catalogue))
    some = np.tile(np.array([[3, 0, 7]]), (len(queries), 1))
    np.testing.assert_allclose(scorer.score(queries, some), whole[:, [3, 0, 7]], rtol=1e-5)


def test_it_is_measured_once(run, other, capsys):
    one, two = (measure_across(run("texts"), other, ["full"]) for _ in range(2))
    assert one.path == two.path
    assert "reusing" in capsys.readouterr().err
    assert one.reports["full+expected"].metrics == two.reports["full+expected"].metrics


def test_the_command_asks_a_run_about_another_dataset(run, other, tmp_path):
    folder = save(other, tmp_path / "other")
    arguments = ["evaluate", str(run("texts").path), "--on", str(folder), "--protocol", "sampled-20", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["reports"]["sampled-20+expected"]["n_users"] == len(other.split.test)
    assert answer["notes"]
    assert answer["run"] == str(run("texts").path)
    assert load_report(Path(answer["report"]) / "protocols" / "sampled-20+expected").metrics
    assert (tmp_path / "other").is_dir()


def test_the_command_reads_its_other_options(run, other, tmp_path):
    folder = save(other, tmp_path / "other")
    arguments = ["evaluate", str(run("texts").path), "--on", str(folder), "--protocol", "full"]
    done = CliRunner().invoke(app, [*arguments, "--part", "valid", "--metric", "recall@3", "--json"])
    report = json.loads(done.stdout)["reports"]["full+expected"]
    assert (report["part"], report["n_users"]) == ("valid", len(other.split.valid))
    assert 0 < report["metrics"]["recall@3"] <= report["metrics"]["recall@5"]
    shown = CliRunner().invoke(app, arguments).stdout
    assert "texts on planted, protocol full" in " ".join(shown.split())
    assert "60 items of planted, filtered and split as the run's own data" in shown
    assert "note: textknn: item vectors from texts" in shown
    refused = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert "no plan to show" in str(refused.exception)


def without(other, **cells):
    """The other dataset without the values of some of its first items: column -> how many (None: all)."""
    items = other.catalogue.items.with_row_index("row")
    for column, count in cells.items():
        gone = pl.col("row") < (items.height if count is None else count)
        items = items.with_columns(pl.when(gone).then(None).otherwise(pl.col(column)).alias(column))
    return replace(other, catalogue=replace(other.catalogue, items=items.drop("row")))


def test_items_without_texts_are_named_and_counted(run, other):
    bare = without(other, title=4, description=4, categories=4)
    _, notes = scorer_over(run("texts"), bare)
    assert notes[-1] == (
        "4 of the 60 items of planted have no text (title, categories, description): 'i00000', 'i00001', 'i00002', "
        "...; nothing is carried over to them"
    )
    assert not any("no text" in note for note in scorer_over(run("texts"), other)[1])


def test_texts_that_say_nothing_to_the_run_are_named_too(run, other):
    words = pl.when(pl.col("item_id") == "i00003").then(pl.lit("zyzzyva qoph"))
    strange = without(other, description=4, categories=4)
    items = strange.catalogue.items.with_columns(words.otherwise(pl.col("title")).alias("title"))
    strange = replace(strange, catalogue=replace(strange.catalogue, items=items))
    notes = scorer_over(run("texts"), strange)[1]
    assert "1 of the 60 items of planted have texts that say nothing to the run: 'i00003'; nothing is" in notes[-1]


def test_columns_that_the_other_data_do_not_have_are_named(run, other):
    notes = scorer_over(run("texts"), without(other, categories=None))[1]
    assert "the run reads categories of its own items, and no item of planted has any" in notes


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("texts", None),
        ("aligned", "not carried over: what events say of its own 80 items (ID vectors, popularity)"),
        ("users", "not carried over: the vectors of its own 200 users and what events say of its own 80 items"),
    ],
)
def test_what_is_left_behind_is_said(run, other, method, said):
    notes = [note for note in scorer_over(run(method), other)[1] if note.startswith("not carried over")]
    assert len(notes) == (said is not None)
    assert said is None or notes[0].startswith(said)


def test_notes_of_an_earlier_version_are_not_reused(run, other, monkeypatch):
    monkeypatch.setattr(cross_domain, "VERSION", 1)
    before = measure_across(run("texts"), other, ["full"]).path
    monkeypatch.undo()
    assert measure_across(run("texts"), other, ["full"]).path != before
    assert cross_domain.VERSION > 1
