"""RECFORMER's epochs: when item vectors are made, what the second begins with, lengths that leave no first one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interlingua.backbones.recformer import Recformer, RecformerConfig, RecformerFit
from interlingua.config import build
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.fitting import Fitting
from interlingua.data.prepared import Dataset
from interlingua.data.queries import Queries
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError
from interlingua.training.joint import Joint
from interlingua.training.loop import fit_best, seed_all, trainable_state

SMALL: dict[str, Any] = {"embedding_dim": 8, "num_blocks": 1, "dropout": 0.0, "max_history": 4, "max_tokens": 32}
FIT: dict[str, Any] = {"batch_size": 32, "warmup_steps": 0, "metric": "x"}
Make = Callable[..., Recformer]


@pytest.fixture(scope="module")
def world() -> Dataset:
    return generate(num_users=40, num_items=30, seed=3)


@pytest.fixture(scope="module")
def make(world: Dataset) -> Make:
    def build_one(**fit: Any) -> Recformer:
        seed_all(4)
        return Recformer(RecformerConfig.model_validate(SMALL | {"fit": FIT | fit}), world.split.train)

    return build_one


def trained(model: Recformer, world: Dataset, validate: Callable[[], dict[str, float]] | None = None) -> Any:
    def loop(batches: Any, config: Any) -> Any:
        joint = Joint(model, Aligner(Aligner.Config(), 0, 0))
        return fit_best(joint, batches, config, seed=1, device="cpu", validate=validate)

    return model.fit(Fitting(world.split.train, catalogue=world.catalogue, loop=loop))


@pytest.mark.parametrize(
    ("fit", "made_in"),
    [
        ({"epochs": 4, "pretrain_epochs": 2, "second_stage_epochs": 1}, [2]),
        ({"epochs": 3, "second_stage_epochs": 0}, [0, 1, 2]),
        ({"epochs": 3, "second_stage_epochs": 2}, [0]),
        ({"epochs": 0, "second_stage_epochs": 2}, [None]),
    ],
)
def test_the_catalogue_is_encoded_once_in_an_epoch_that_reads_item_vectors(
    fit: dict[str, Any], made_in: list[int | None], make: Make, world: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in pre-training, not before the first epoch and again in it; without epochs, when the fit starts."""
    model, found, at = make(**fit, patience=None), list[int | None](), list[int]()
    own, begin = model.refresh, model.begin
    monkeypatch.setattr(model, "begin", lambda epoch: (at.append(epoch), begin(epoch)))
    monkeypatch.setattr(model, "refresh", lambda: (found.append(at[-1] if at else None), own()))
    trained(model, world)
    assert found == made_in
    assert np.ptp(model.score(Queries.of([[1, 2]]))) > 0
    trained(model, world)
    assert len(found) == 2 * len(made_in), "a second fit makes them anew"


def test_the_second_stage_begins_with_the_encoder_and_item_vectors_of_the_best_epoch(
    make: Make, world: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, judged, started = make(epochs=6, second_stage_epochs=2, patience=2), list[dict[str, Tensor]](), []
    values, begin = iter([0.1, 0.9, 0.3, 0.2, 0.4, 0.5]), model.begin

    def validate() -> dict[str, float]:
        judged.append(trainable_state(model, copy=True))
        return {"x": next(values)}

    monkeypatch.setattr(model, "begin", lambda epoch: (begin(epoch), started.append(trainable_state(model, copy=True))))
    log = trained(model, world, validate)
    assert (len(log.epochs), log.best_epoch) == (6, 2), "four validations of the first stage are no reason to stop"
    assert all(torch.equal(started[4][name], judged[1][name]) for name in judged[1])
    assert not torch.equal(judged[3]["matrix"], judged[1]["matrix"])
    assert torch.equal(judged[4]["matrix"], judged[1]["matrix"])
    assert torch.equal(judged[5]["matrix"], judged[1]["matrix"])
    assert not torch.equal(judged[4]["encoder.words"], judged[1]["encoder.words"]), "the encoder learns on"


@pytest.mark.parametrize(
    "fit",
    [
        {"epochs": 10, "second_stage_epochs": 10},
        {"epochs": 3, "second_stage_epochs": 4},
        {"epochs": 6, "pretrain_epochs": 4, "second_stage_epochs": 2},
        {"epochs": 4, "pretrain_epochs": 4, "second_stage_epochs": 0},
        {"epochs": 4, "pretrain_epochs": 5},
    ],
)
def test_lengths_that_leave_no_first_stage_are_refused_in_words(fit: dict[str, Any]) -> None:
    said = rf"backbone\.fit.*epochs = {fit['epochs']} leaves no epoch for the first stage.*set epochs to more than"
    with pytest.raises(ConfigError, match=said):
        build(RecformerConfig, {"fit": fit}, "backbone")


@pytest.mark.parametrize(
    ("fit", "end"),
    [
        ({}, 50),
        ({"epochs": 1}, 1),
        ({"epochs": 12}, 10),
        ({"epochs": 12, "pretrain_epochs": 6}, 11),
        ({"epochs": 12, "second_stage_epochs": 0}, 12),
        ({"epochs": 12, "pretrain_epochs": 3, "second_stage_epochs": 8}, 4),
        ({"epochs": 0, "second_stage_epochs": 8}, -8),
    ],
)
def test_a_sixth_of_the_fine_tuning_is_the_second_stage_unless_it_is_said(fit: dict[str, Any], end: int) -> None:
    options = RecformerFit.model_validate(fit)
    assert options.first_stage_end == end
    assert [options.may_stop(n) for n in (end, end + 1)] == [False, True]
    assert [options.goes_back(n) for n in (end - 1, end, end + 1)] == [False, True, False]
