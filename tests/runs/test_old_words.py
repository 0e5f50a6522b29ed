"""Recipes and options of earlier versions: read as today's, with one line that says the new word."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from interlingua import registry
from interlingua.errors import ConfigError
from interlingua.runs import old_words
from interlingua.runs import recipe as recipes
from interlingua.runs.measuring import EvaluateConfig
from interlingua.training.checkpoint import load_trained, trainable_state

pytest.importorskip("transformers")


def test_an_old_recipe_is_read_as_todays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = tmp_path / "old.toml"
    old.write_text(
        """
[data]
name = "planted"
[backbone]
name = "sasrec"
long = "window"
equal = "targets"
[text]
name = "lsa"
[align]
name = "autoencoder"
frozen = ["backbone"]
[llm]
name = "soft-prompt"
template = "sequence"
scoring = "head"
head_weight = 0.5
residual = true
equal = "targets"
[evaluate]
retrieve_by = "backbone"
""",
        encoding="utf-8",
    )
    read = recipes.load(old, ["llm.history_length=7"])
    assert read.ranker is not None
    assert read.ranker.name == "sequence-head"
    options = read.ranker.options()
    kept = {key: options[key] for key in ("head_weight", "fuse_scores", "batch_by", "history_length")}
    assert kept == {"head_weight": 0.5, "fuse_scores": True, "batch_by": "events", "history_length": 7}
    assert read.backbone is not None
    assert read.backbone.options()["long_histories"] == "windows"
    assert read.evaluate.candidate_source == "backbone"
    said = capsys.readouterr().err
    for word in ("[ranker]", "backbone.long_histories", "backbone.batch_by", "evaluate.candidate_source"):
        assert word in said
    assert recipes.resolve(read.resolved()) == recipes.resolve(read.resolved())


def test_an_old_recipe_that_extends_a_shipped_one(tmp_path: Path) -> None:
    base = recipes.folder() / "aligned-mixture.toml"
    child = tmp_path / "child.toml"
    child.write_text(f'extends = "{base}"\n[llm]\ntemplate = "sequence"\nresidual = false\n', encoding="utf-8")
    read = recipes.load(child)
    assert read.ranker is not None
    assert (read.ranker.name, read.ranker.options()["fuse_scores"]) == ("sequence-head", False)


def test_both_words_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"both \[llm\] and \[ranker\]"):
        old_words.translated({"llm": {}, "ranker": {}}, "here", quiet=True)
    with pytest.raises(ConfigError, match=r"ranker\.residual and ranker\.fuse_scores"):
        old_words.translated({"ranker": {"residual": True, "fuse_scores": True}}, "here", quiet=True)


def test_what_an_old_word_points_to_exists() -> None:
    for (section, _), (new, values) in old_words.OPTIONS.items():
        if section == "evaluate":
            owners = [EvaluateConfig]
        else:
            owners = [registry.find(section, name).Config for name in registry.names(section)]
        fields = [each.model_fields[new] for each in owners if new in each.model_fields]
        assert fields, (section, new)
        for value in values.values():
            assert all(value in str(field.annotation) for field in fields)
    prompts = registry.find("ranker", "soft-prompt").Config.model_fields
    head = registry.find("ranker", "sequence-head").Config.model_fields
    assert set(old_words.PROMPTS_ONLY) == set(prompts) - set(head)


def test_an_argument_by_its_former_name_is_read_with_a_warning() -> None:
    today = recipes.load("pop", overrides=["evaluate.max_users=7"])
    with pytest.warns(FutureWarning, match=r"load\(\): sets= is called overrides= now"):
        former = recipes.load("pop", sets=["evaluate.max_users=7"])  # type: ignore[call-arg]
    assert former == today
    assert former.evaluate.max_users == 7
    with pytest.raises(TypeError, match="both sets= and overrides="):
        recipes.load("pop", overrides=[], sets=[])  # type: ignore[call-arg]


def test_weights_that_were_stored_under_a_former_name_are_read() -> None:
    class Ranker(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score_fusion = nn.Linear(2, 1)

    ranker = Ranker()
    stored = {
        name.replace("score_fusion", "mixture"): torch.ones_like(v) for name, v in trainable_state(ranker).items()
    }
    load_trained(ranker, stored)
    assert all(bool((value == 1).all()) for value in ranker.state_dict().values())
