"""What the training loop tells while it runs, the device and precision that it asks for, and epochs of one step."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import accelerate
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from interlingua import progress
from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch
from interlingua.training import loop as fitting
from interlingua.training.loop import accelerator, fit, fit_best

ONE = Batch(torch.tensor([0, 1]), torch.tensor([0, 0]))


class Wide(nn.Module):
    """A matrix product, which half precision rounds."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.1, 1.7, 64).reshape(2, 32))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": (self.weight @ self.weight.T).square().mean()}


def three(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
    yield from (ONE, ONE, ONE)


def config(**values: Any) -> FitConfig:
    return FitConfig.model_validate({"learning_rate": 1e-3, "epochs": 2, "patience": None} | values)


def first_loss(**options: Any) -> float:
    log = fit_best(Wide(), three, config(epochs=1, steps_per_epoch=1), seed=0, device="cpu", **options)
    return float(log.epochs[0]["losses"]["loss"])


def test_the_mean_of_an_epoch_of_one_step_is_that_steps_loss() -> None:
    expected = float(Wide()(ONE)["loss"])
    assert first_loss() == pytest.approx(expected, rel=1e-6)


def test_half_precision_reaches_the_steps() -> None:
    whole, half = first_loss(), first_loss(precision="bf16")
    assert first_loss() == whole  # in one process, one after the other
    assert half != whole
    assert half == pytest.approx(whole, rel=0.02)


def test_the_cpu_is_taken_where_it_is_asked_for_whatever_else_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(accelerate, "Accelerator", lambda **options: asked.append(options))
    monkeypatch.setattr(fitting, "_requested_before", [])
    for device in ("cpu", "auto"):
        accelerator(device, "bf16")
    assert [each["cpu"] for each in asked] == [True, False]
    assert {each["mixed_precision"] for each in asked} == {"bf16"}


def test_every_step_is_told_and_after_the_first_epoch_of_how_many() -> None:
    told: list[tuple[int, int | None]] = []
    list(fit(Wide(), three, config(), seed=0, device="cpu", on_step=lambda done, of: told.append((done, of))))
    assert told == [(1, None), (2, None), (3, None), (1, 3), (2, 3), (3, 3)]


def test_a_long_first_epoch_is_counted_once_it_has_taken_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second at each look: the third step is the first after two seconds."""
    at = iter(range(1000, 9999))
    monkeypatch.setattr(fitting, "time", SimpleNamespace(perf_counter=lambda: next(at)))
    told: list[int | None] = []
    list(fit(Wide(), three, config(epochs=1), seed=0, device="cpu", on_step=lambda _, of: told.append(of)))
    assert told == [None, None, 3]


def test_a_line_of_progress_has_losses_and_the_validated_metric(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "FIRST_AFTER_S", 0.0)
    values = iter((0.25, 0.5))
    fit_best(
        Wide(), three, config(metric="ndcg@10", patience=5), seed=0, device="cpu", label="learn",
        validate=lambda: {"ndcg@10": next(values)},
    )  # fmt: skip
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("learn: 2/2")
    assert "loss " in last
    assert "valid ndcg@10 0.5000" in last


class Alternating(nn.Module):
    """One of two parameters by turns."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
        self.seen: list[float] = []

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.seen.append(float(self.first.detach()))
        return {"loss": (self.first if len(self.seen) % 2 else self.second).square().sum()}


def test_what_a_step_does_not_use_stays_where_it_was() -> None:
    """Adam's memory of earlier gradients moves nothing that has none."""
    module = Alternating()
    list(fit(module, three, config(epochs=1), seed=0, device="cpu"))
    before, after, unused = module.seen
    assert before != after
    assert after == unused
