"""Rankers that answer in words: which model learns, from which adapters it begins, and which layers have some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.llm.word_rankers import inputs, tiny_folder

from interlingua import registry
from interlingua.config import FitConfig
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.data.queries import Queries
from interlingua.errors import ArtifactError, ConfigError
from interlingua.lm.adapters import LoraOptions
from interlingua.training.loop import fit_best, seed_all

pytest.importorskip("peft")
NAMES = ("tallrec", "llara")
FIT = FitConfig(learning_rate=1e-2, batch_size=4, epochs=1, steps_per_epoch=2)


def make(name: str, model: str, **options: object):
    cls = registry.find("ranker", name)
    seed_all(3)
    fields = cls.Config.model_fields
    common = {"model": model, "history_length": 2, "num_candidates": 3, "fit": FIT, "lora": LoraOptions(rank=2)}
    return cls(cls.Config.model_validate({k: v for k, v in (common | options).items() if k in fields}), inputs())


def fitted(ranker):
    def loop(batches, config) -> FitLog:
        return fit_best(ranker, batches, config, seed=1, device="cpu")

    ranker.fit(Fitting(ranker.inputs.train, loop=loop))
    return ranker


@pytest.mark.parametrize("name", NAMES)
def test_a_ranker_begins_with_the_adapters_of_another(name: str, tmp_path: Path) -> None:
    model = tiny_folder(tmp_path / "lm")
    first = fitted(make(name, model))
    card = first.write_extras(tmp_path)
    assert card["tuned"]["tensors"] == len(list(first.tuned.parameters()))
    still = FIT.model_copy(update={"epochs": 0})
    again = fitted(make(name, model, adapters=str(tmp_path / "adapters"), fit=still))
    assert all(
        torch.equal(a, b) for a, b in zip(first.tuned.parameters(), again.tuned.parameters(), strict=True)
    )  # fmt: skip
    with pytest.raises(ArtifactError, match="change nothing"):
        fitted(make(name, model, fit=still))  # without them nothing was learned


@pytest.mark.parametrize("name", NAMES)
def test_modules_of_lora_are_as_the_options_say_and_a_catalogue_is_refused(name: str, tmp_path: Path) -> None:
    ranker = make(name, tiny_folder(tmp_path / "lm"), lora=LoraOptions(rank=2, modules=["o_proj"]))
    assert {each.split("/")[-4] for each, _ in ranker.tuned.named_parameters()} == {"o_proj"}
    with pytest.raises(ConfigError, match="orders given candidates; retrieve some first"):
        ranker.score(Queries.of([[1]]))
    assert ranker.score(Queries.of([]), np.zeros((0, 3), np.int64)).shape == (0, 3)
