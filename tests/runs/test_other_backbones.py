"""A-LLMRec's table 11: every other backbone under its stages, by another [backbone] section and not a line beside."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

from tests.golden.traces import models as tiny_models
from tests.golden.traces import small

from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.opening import open_session

FIT = {"epochs": 2, "batch_size": 64}
BACKBONES: dict[str, dict[str, Any]] = {
    "nextitnet": {"name": "nextitnet", "embedding_dim": 12, "max_history": 10, "num_blocks": 2},
    "nextitnet, padding trained": {"name": "nextitnet", "embedding_dim": 12, "max_history": 10, "padding": "trained"},
    "caser": {"name": "caser", "embedding_dim": 12},
    "caser with users": {"name": "caser", "embedding_dim": 12, "user_table": True},
    "gru4rec": {"name": "gru4rec", "embedding_dim": 12, "hidden_dim": 10, "max_history": 10},
    "gru4rec on sessions": {"name": "gru4rec", "embedding_dim": 12, "hidden_dim": 10, "batch_of": "sessions",
                            "loss": "top1-max", "tied": False},
    "ncf": {"name": "ncf", "embedding_dim": 6, "layers": [12, 6]},
    "gmf": {"name": "ncf", "embedding_dim": 6, "parts": "gmf"},
    "mlp": {"name": "ncf", "layers": [12, 6], "parts": "mlp"},
    "sasrec as the paper's": {"name": "sasrec", "embedding_dim": 12, "max_history": 10, "dropout": 0.5, "loss": "bce",
                              "norm": "authors", "init": "xavier"},
}  # fmt: skip


OFTEN = {
    "a-llmrec": ("nextitnet", "caser with users", "gru4rec on sessions", "ncf", "sasrec as the paper's"),
    "aligned-mixture": ("nextitnet", "caser", "gru4rec", "ncf"),
    "mlp-llm": ("caser with users", "ncf"),
}
CASES = [
    pytest.param(recipe, name, marks=() if name in often else pytest.mark.slow)
    for recipe, often in OFTEN.items()
    for name in BACKBONES
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize(("recipe", "backbone"), CASES)
def test_it_runs_under_the_stages_of_another_recipe(
    recipe: str, backbone: str, models: dict[str, str], runs: Path
) -> None:
    values = copy.deepcopy(small(recipe, models).resolved())
    values["backbone"] = BACKBONES[backbone] | {"fit": FIT}
    for section in ("align", "ranker"):
        if "fit" in values[section]:  # mlp-llm aligns nothing
            values[section]["fit"] |= {"epochs": 1}
    values["evaluate"]["max_users"] = 6
    made = stages.run(recipes.resolve(values, recipe), out=runs, seed=5, device="cpu")
    assert {"train", "align", "rank", "evaluate"} <= set(made.done)
    reports = json.loads((made.done["evaluate"].path / "metrics.json").read_text(encoding="utf-8"))
    assert reports
    assert all(np.isfinite(report["metrics"]["hit@1"]) for report in reports.values())
    again, queries = open_session(made.path, "cpu"), made.data.split.queries("test").slice(0, 2)
    candidates = np.arange(8).reshape(2, 4)
    scores = again.ranker.score(queries, candidates)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(made.ranker.score(queries, candidates), scores, rtol=1e-3, atol=1e-4)
