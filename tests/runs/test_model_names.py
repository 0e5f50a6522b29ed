"""Names of models that cannot be: every one is refused in words before anything runs, whoever reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlingua.errors import ConfigError
from interlingua.runs import recipe, stages

NAMES = ["/nowhere/x", "a/b/c", "./here", "sp ace", "double..dot", "-x", "owner/-x", "a\tb", "é/è", "x" * 200]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("base", "option"),
    [("textknn-sbert", "text.model"), ("llm-only", "ranker.model"), ("textknn-states", "text.model")],
)
def test_a_name_that_no_model_can_have(tmp_path: Path, name: str, base: str, option: str) -> None:
    values = {
        "textknn-sbert": {"backbone": {"name": "textknn"}, "text": {"name": "sbert", "model": name}},
        "textknn-states": {"backbone": {"name": "textknn"}, "text": {"name": "lm-states", "model": name}},
        "llm-only": {"backbone": {"name": "pop"}, "ranker": {"name": "llm-only", "model": name}},
    }[base]
    with pytest.raises(ConfigError, match="before anything runs: missing") as error:
        stages.run(recipe.resolve({"data": {"name": "planted"}, **values}), out=tmp_path)
    assert option in str(error.value) or "give a folder that exists" in str(error.value)
    assert not any(tmp_path.glob("train-*"))
