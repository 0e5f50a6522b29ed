"""A run asked about another dataset: texts carry over, ids do not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from interlingua.cli.main import app
from interlingua.data.prepare import save
from interlingua.data.sources.planted import generate
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.cross_domain import measure_across, scorer_over

LSA = {"name": "lsa", "dim": 16}
SASREC = {"name": "sasrec", "embedding_dim": 16, "max_history": 8, "num_blocks": 1, "fit": {"epochs": 8}}
METHODS = {
    "ids": {"backbone": {"name": "itemknn"}},
    "texts": {"text": LSA, "backbone": {"name": "textknn"}},
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
    assert (tmp_path / "other").is_dir()
