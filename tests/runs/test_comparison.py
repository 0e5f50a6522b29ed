"""The rows of A-LLMRec's tables: each is a recipe, changes what its name says, and shares what it can."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

from tests.golden.traces import models, small_values

from interlingua.config import merge, parse_overrides
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.comparison import A_LLMREC
from interlingua.runs.plan import make_plan

RUN = ("llm-only-generated", "sbert", "frozen-sbert", "without-user", "random-joint-embedding", "all-positions")
"""rows that are run to their end by default; the others differ in a weight of a loss"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def small_row(name: str, tiny: dict[str, str]) -> recipes.Recipe:
    row = A_LLMREC[name]
    return recipes.resolve(merge(small_values(row.recipe, tiny), parse_overrides(row.overrides)), name)


def test_every_row_loads_and_no_two_are_the_same() -> None:
    found = {name: row.load().resolved() for name, row in A_LLMREC.items()}
    assert len({str(each) for each in found.values()}) == len(found)
    assert {number for row in A_LLMREC.values() for number in row.tables} == {1, 4, 5, 6, 7, 8, 9, 10, 11}
    changed = A_LLMREC["without-user"].load("ranker.history_length=3", data="planted")
    assert changed.data.name == "planted"
    assert (changed.ranker.config.history_length, changed.ranker.config.slots.user) == (3, "none")


def test_rows_share_the_stages_that_they_do_not_change(tiny: dict[str, str]) -> None:
    keys = {name: {k: s.key for k, s in make_plan(small_row(name, tiny), 1).items()} for name in A_LLMREC}
    whole = keys["a-llmrec"]
    stage_two = ("sbert", "without-user", "without-joint-embedding", "random-joint-embedding")
    for name in (*stage_two, "without-matching", "without-reconstruction", "without-recommendation", "frozen-sbert",
                 "all-positions", "mlp-llm", "tallrec"):  # fmt: skip
        assert keys[name]["train"] == whole["train"], name
        assert keys[name]["rank"] != whole["rank"], name
        if "align" in keys[name]:
            assert (keys[name]["align"] == whole["align"]) is (name in stage_two), name


@pytest.mark.parametrize("name", [n if n in RUN else pytest.param(n, marks=pytest.mark.slow) for n in A_LLMREC])
def test_a_row_runs_to_its_end(name: str, tiny: dict[str, str], out: Path) -> None:
    done = stages.run(small_row(name, tiny), out=out, seed=1, device="cpu")
    (found,) = done.metrics.values()
    assert all(np.isfinite(value) for value in found.values())


def test_vectors_of_texts_stand_for_all_items_and_change_only_what_is_asked(tiny: dict[str, str], out: Path) -> None:
    whole = stages.run(small_row("a-llmrec", tiny), out=out, seed=1, device="cpu")
    sbert = stages.run(small_row("sbert", tiny), out=out, seed=1, device="cpu")
    trained = dict(whole.ranker.named_parameters())
    assert all((value == trained[name]).all() for name, value in sbert.ranker.named_parameters())
    assert np.array_equal(sbert.ranker.vectors_for_scoring().numpy(), whole.ranker.vectors.text.numpy())
    queries = whole.data.split.queries("test").slice(0, 4)
    items = np.tile(np.arange(5), (4, 1))
    assert not np.allclose(sbert.ranker.score(queries, items), whole.ranker.score(queries, items))
