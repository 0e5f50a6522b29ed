"""Vectors of texts for metrics: of an encoder that was trained along, those of the run's own weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sentence_transformers")

from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.facts import facts_of
from interlingua.runs.opening import open_session
from interlingua.text.sbert import Sbert, SbertConfig
from interlingua.vectors.fields import item_texts


def values(encoder: str, align: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": {"name": "planted", "options": {"num_users": 40, "num_items": 30}},
        "backbone": {"name": "sasrec", "embedding_dim": 8, "max_history": 6, "loss": "in-batch", "fit": {"epochs": 1}},
        "text": {"name": "sbert", "model": str(encoder), "trainable": True},
        "align": align,
        "evaluate": {"protocols": ["full"], "metrics": ["diversity-vectors@5"]},
    }


@pytest.mark.parametrize("name", ["morec", "ctrl"])
def test_a_run_that_is_opened_again_has_the_same_vectors(name: str, encoder: str, tmp_path: Path) -> None:
    """Those of the trained encoder; as it began where the run drops it."""
    align: dict[str, Any] = {"name": name, "fit": {"epochs": 1, "encoder_learning_rate": 1e-2}}
    made = stages.run(recipes.resolve(values(encoder, align)), out=tmp_path, device="cpu")
    again = open_session(made.path, "cpu")
    found, once = (facts_of(each, made.recipe.evaluate).vectors for each in (again, made))
    assert found is not None
    np.testing.assert_array_equal(found, once)
    config = SbertConfig(model=encoder)
    former = Sbert(config, item_texts(made.data.catalogue, config)).rows("items")
    assert np.allclose(found, former, atol=1e-4) == (name == "ctrl")
