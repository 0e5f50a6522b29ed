"""Trainings of two stages: patience has a say in the second, which begins with the best state of the first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch
from interlingua.contracts.fit_log import FitLog
from interlingua.training.loop import fit_best


class TwoStages(FitConfig):
    """Patience has a say behind ``first`` epochs, and what comes then begins with the best of these."""

    first: int = 4
    """epochs of the first stage"""

    def may_stop(self, epoch: int) -> bool:
        return epoch > self.first

    def goes_back(self, epoch: int) -> bool:
        return epoch == self.first


class Line(nn.Module):
    """One weight per user; ``seen`` counts batches."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.seen += 1
        return {"square": self.weight[batch.users].square().mean()}


def batches(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
    for _ in range(3):
        yield Batch(torch.as_tensor(generator.integers(0, 2, 3)), torch.zeros(3, dtype=torch.long))


def options(**values: Any) -> TwoStages:
    usual = {"learning_rate": 0.05, "epochs": 20, "patience": 2, "patience_steps": 0, "metric": "x"}
    return TwoStages.model_validate(usual | values)


def trained(config: FitConfig, values: list[float], **more: Any) -> tuple[FitLog, list[Tensor], Line]:
    """The log, the weights at each validation, and the module; ``values``: what the validations give."""
    module, weights, left = Line(), list[Tensor](), iter(values)

    def validate() -> dict[str, float]:
        weights.append(module.weight.detach().clone())
        return {"x": next(left)}

    log = fit_best(module, batches, config, seed=1, device="cpu", validate=validate, **more)
    return log, weights, module


@pytest.mark.parametrize(("patience", "steps", "stopped"), [(1, 0, 5), (2, 0, 6), (3, 0, 7), (1, 6, 6), (1, 7, 7)])
def test_patience_begins_with_the_stage_that_it_may_end(patience: int, steps: int, stopped: int) -> None:
    """The best is epoch 1, so three validations of the first stage (and nine steps) came without a better one."""
    log, _, _ = trained(options(patience=patience, patience_steps=steps), [1.0] + [0.5] * 19)
    assert (len(log.epochs), log.best_epoch) == (stopped, 1)


def test_patience_counts_from_the_best_of_the_second_stage() -> None:
    log, _, _ = trained(options(), [1.0, 0.5, 0.5, 0.5, 0.5, 2.0, 1.0, 1.0, 3.0])
    assert (len(log.epochs), log.best_epoch) == (8, 6)


def test_the_second_stage_begins_with_the_best_state_of_the_first() -> None:
    values = [0.1, 0.9, 0.3, 0.2, 0.4, 0.5]
    _, back, module = trained(options(epochs=6, patience=9), values)
    _, on, _ = trained(options(epochs=6, patience=9, first=0), values)
    assert all(torch.equal(*pair) for pair in zip(back[:4], on[:4], strict=True))
    assert not torch.equal(back[4], on[4])
    assert bool((back[3] < back[1]).all()), "the loss makes weights fall"
    assert bool((back[3] < back[4]).all()), "not from the last state"
    assert bool((back[4] < back[1]).all())
    assert torch.equal(module.weight, back[1])
    assert int(module.seen) == 6, "its buffers too"


def test_without_patience_no_state_is_kept_and_the_second_stage_goes_on() -> None:
    values = [0.1, 0.9, 0.3, 0.2, 0.4, 0.5]
    _, found, _ = trained(options(epochs=6, patience=None), values)
    _, plain, _ = trained(options(epochs=6, patience=None, first=0), values)
    assert all(torch.equal(*pair) for pair in zip(found, plain, strict=True))


@pytest.mark.parametrize("stop", [2, 4, 5])
def test_a_stopped_training_goes_on_with_the_same_bits(stop: int, tmp_path: Path) -> None:
    """Killed in the first stage, between both, and in the second, while the learning rate still rises."""
    values, config = [0.1, 0.9, 0.3, 0.2, 0.4, 0.5], options(epochs=6, patience=9, warmup_steps=16)
    whole, weights, module = trained(config, values)
    kept = {"folder": tmp_path, "checkpoint_every_s": 0.0}
    with pytest.raises(StopIteration):
        trained(config, values[:stop], **kept)
    log, rest, again = trained(config, values[stop:], **kept)
    assert all(torch.equal(*pair) for pair in zip(rest, weights[stop:], strict=True))
    assert torch.equal(again.weight, module.weight)
    assert [record["losses"] for record in log.epochs] == [record["losses"] for record in whole.epochs]
