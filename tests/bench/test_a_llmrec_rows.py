"""Language-model rows of A-LLMRec's tables: each is a recipe, changes what its name says, shares what it can."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

from tests.golden.traces import models, small_values

from interlingua.bench.spec import load_spec
from interlingua.config import merge, parse_overrides
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.plan import make_plan

METHODS = load_spec("a-llmrec").methods
STAGE_ONE = ("without L_matching", "without both reconstructions", "without L_rec", "SBERT frozen", "A-LLMRec_all")
STAGE_TWO = ("without user representation", "without joint embedding", "with random joint embedding")
OTHER = ("TALLRec", "MLP-LLM")
RUN = ("SBERT frozen", "A-LLMRec_all", "with random joint embedding")
"""rows that are run to their end by default; the others differ in a weight of a loss, or have a golden trace"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def small_row(name: str, tiny: dict[str, str]) -> recipes.Recipe:
    row = METHODS[name]
    values = merge(small_values(row.recipe, tiny), parse_overrides(row.overrides))
    return recipes.resolve(values, "row")


def test_every_row_is_another_recipe_and_shares_the_stages_that_it_does_not_change(tiny: dict[str, str]) -> None:
    names = ("A-LLMRec", *STAGE_ONE, *STAGE_TWO, *OTHER)
    keys = {name: {k: s.key for k, s in make_plan(small_row(name, tiny), 1).items()} for name in names}
    whole = keys.pop("A-LLMRec")
    assert len({each["rank"] for each in keys.values()} | {whole["rank"]}) == len(names)
    for name, found in keys.items():
        assert found["train"] == whole["train"], name
        assert (found.get("align") == whole["align"]) is (name in STAGE_TWO), name


@pytest.mark.parametrize(
    "name", [n if n in RUN else pytest.param(n, marks=pytest.mark.slow) for n in (*STAGE_ONE, *STAGE_TWO, *OTHER)]
)
def test_a_row_runs_to_its_end(name: str, tiny: dict[str, str], out: Path) -> None:
    done = stages.run(small_row(name, tiny), out=out, seed=1, device="cpu")
    (found,) = done.metrics.values()
    assert all(np.isfinite(value) for value in found.values())
    assert (done.ranker.user_projector is None) is (name in ("without user representation", "TALLRec"))
    assert (done.ranker.item_projector is None) is (name in ("without joint embedding", "TALLRec"))
    assert done.ranker.vectors.random is (name == "with random joint embedding")
