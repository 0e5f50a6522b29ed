"""The training loop: hand-worked steps, early stopping, divergence, and resuming bitwise equal after a kill."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch
from interlingua.errors import ArtifactError, ConfigError
from interlingua.training import checkpoint
from interlingua.training.loop import derive_seed, fit, fit_best, make_optimizer, seed_all, trainable_state


class Line(nn.Module):
    """Weight times user row, plus a frozen offset; the loss is the mean."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.frozen = nn.Parameter(torch.tensor([3.0]), requires_grad=False)
        self.drop = nn.Dropout(dropout)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.seen += 1
        value = self.drop(self.weight[batch.users]) + self.frozen
        return {"square": value.square().mean(), "level": value.mean()}


def one_batch(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
    yield Batch(torch.tensor([0, 1]), torch.tensor([0, 0]))


def random_batches(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
    for _ in range(4):
        yield Batch(torch.as_tensor(generator.integers(0, 2, 3)), torch.zeros(3, dtype=torch.long))


def config(**values: object) -> FitConfig:
    return FitConfig.model_validate({"learning_rate": 0.1, "epochs": 3, **values})


def test_losses_are_summed_and_their_means_reported() -> None:
    module = Line()
    (epoch,) = fit(module, one_batch, config(epochs=1), seed=0, device="cpu")
    # before the step: values 4 and 5 -> mean square 20.5, mean 4.5
    assert epoch.losses == {"square": 20.5, "level": 4.5}
    assert (epoch.number, epoch.samples) == (1, 2)
    # Adam's first step is the learning rate against the gradient's sign
    assert module.weight.tolist() == pytest.approx([0.9, 1.9], abs=1e-6)


def test_three_steps_equal_a_hand_written_loop_with_torchs_adam() -> None:
    module, own = Line(), Line()
    options = config(epochs=3, weight_decay=0.01, beta2=0.98, clip_norm=1.0)
    list(fit(module, one_batch, options, seed=0, device="cpu"))
    adam = torch.optim.Adam([own.weight], lr=0.1, betas=(0.9, 0.98), weight_decay=0.01)
    for _ in range(3):
        adam.zero_grad()
        sum(own(next(one_batch(0, np.random.default_rng()))).values()).backward()
        nn.utils.clip_grad_norm_([own.weight], 1.0)
        adam.step()
    assert torch.equal(module.weight, own.weight)


def test_frozen_parameters_stay_bitwise_and_are_not_stored() -> None:
    module = Line()
    before = module.frozen.clone()
    list(fit(module, one_batch, config(weight_decay=0.5), seed=0, device="cpu"))
    assert torch.equal(module.frozen, before)
    assert set(trainable_state(module)) == {"weight", "seen"}


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no trainable parameter"):
        make_optimizer(Line().requires_grad_(False), config())


def learning_rates(options: FitConfig, steps: int) -> list[float]:
    """What Adam is given at each step of a run."""
    seen: list[float] = []

    def many(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        for _ in range(steps):
            yield from one_batch(epoch, generator)

    module = Line()
    optimizer = make_optimizer(module, options)
    optimizer.register_step_pre_hook(lambda o, *_: seen.append(o.param_groups[0]["lr"]))
    list(fit(module, many, options, seed=0, device="cpu", optimizer=optimizer))
    return seen


def test_warm_up_rises_linearly_and_then_stays() -> None:
    got = learning_rates(config(epochs=2, steps_per_epoch=3, warmup_steps=4), steps=5)
    assert got == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("limit", [None, 3, 50])
def test_warm_up_counts_steps_whatever_an_epoch_has(limit: int | None) -> None:
    got = learning_rates(config(epochs=3, steps_per_epoch=limit, warmup_steps=8), steps=3)
    assert got == pytest.approx([0.0125, 0.025, 0.0375, 0.05, 0.0625, 0.075, 0.0875, 0.1, 0.1])


def test_cosine_falls_over_the_whole_run() -> None:
    got = learning_rates(config(epochs=2, steps_per_epoch=2, schedule="cosine"), steps=2)
    want = [0.05 * (1 + math.cos(math.pi * share)) for share in (0, 0.25, 0.5, 0.75)]
    assert got == pytest.approx(want)


def test_an_exponential_schedule_falls_after_every_round_and_its_factor_is_only_read_there() -> None:
    got = learning_rates(config(epochs=3, steps_per_epoch=2, schedule="exponential", decay=0.5), steps=2)
    assert got == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])
    assert "decay" not in FitConfig().model_dump()
    with pytest.raises(ValueError, match="decay is read with schedule"):
        FitConfig(decay=0.5)


def test_a_line_falls_over_the_whole_run() -> None:
    got = learning_rates(config(epochs=2, steps_per_epoch=2, schedule="linear"), steps=2)
    assert got == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_an_unknown_schedule_is_an_error() -> None:
    with pytest.raises(ConfigError, match="use constant, cosine, linear or exponential"):
        learning_rates(config(schedule="steps"), steps=1)


def test_a_round_ends_after_the_given_steps() -> None:
    module = Line()
    epochs = list(fit(module, random_batches, config(steps_per_epoch=2), seed=0, device="cpu"))
    assert [e.samples for e in epochs] == [6, 6, 6]
    assert int(module.seen) == 6


def test_divergence_names_the_loss_the_epoch_and_the_remedy() -> None:
    class Bad(Line):
        def forward(self, batch: Batch) -> dict[str, Tensor]:
            losses = super().forward(batch)
            return {**losses, "bad": self.weight.sum() * (math.nan if self.seen > 2 else 1.0)}

    with pytest.raises(ConfigError, match=r"diverged in epoch 3: .*bad.* is not finite; lower fit\.learning_rate"):
        list(fit(Bad(), one_batch, config(epochs=9), seed=0, device="cpu"))


@pytest.mark.parametrize("device", ["gpu", "cuda:x", ""])
def test_an_unknown_device_is_an_error(device: str) -> None:
    with pytest.raises(ConfigError, match="use auto, cpu, cuda or mps"):
        list(fit(Line(), one_batch, config(), seed=0, device=device))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_without_a_device_says_so() -> None:
    with pytest.raises(ConfigError, match="torch sees no CUDA device"):
        list(fit(Line(), one_batch, config(), seed=0, device="cuda"))


def test_same_seed_same_trace_other_seed_other_trace() -> None:
    def trace(seed: int) -> list[dict[str, float]]:
        return [e.losses for e in fit(Line(0.3), random_batches, config(), seed=seed, device="cpu")]

    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


def test_seeds_of_different_labels_are_independent_and_stable() -> None:
    assert derive_seed(7, "epoch", 0) == derive_seed(7, "epoch", 0)
    assert len({derive_seed(s, "epoch", e) for s in range(20) for e in range(20)}) == 400
    assert all(0 <= derive_seed(s) < 2**63 for s in range(100))
    assert seed_all(derive_seed(3)).integers(1 << 30) == seed_all(derive_seed(3)).integers(1 << 30)


def test_the_best_epoch_is_kept_and_training_stops_after_patience() -> None:
    module, weights = Line(), []
    values = iter([0.1, 0.5, 0.4, 0.5, 0.3, 0.9])

    def validate() -> dict[str, float]:
        weights.append(module.weight.detach().clone())
        return {"ndcg@10": next(values)}

    options = config(epochs=9, patience=3, patience_steps=0)
    log = fit_best(module, one_batch, options, seed=0, validate=validate, device="cpu")
    # a metric that only equals the best is no improvement: epochs 3, 4 and 5 exhaust the patience
    assert (len(log.epochs), log.best_epoch, log.best) == (5, 2, 0.5)
    assert torch.equal(module.weight, weights[1])
    assert not module.training
    assert log.epochs[1]["valid"] == {"ndcg@10": 0.5}


@pytest.mark.parametrize(
    ("patience", "steps", "stopped"),
    [(3, 0, 8), (3, 18, 8), (3, 19, 10), (3, 40, 16), (5, 19, 12), (1, 500, 60)],
)
def test_patience_asks_for_validations_and_for_steps(patience: int, steps: int, stopped: int) -> None:
    """The best is epoch 2, every second epoch is validated and three steps long: epoch 8 is the third validation since
    and the 18th step, epoch 10 the fourth and the 24th; the last epoch ends it anyway."""

    def batches(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        for _ in range(3):
            yield from one_batch(epoch, generator)

    values = iter([1.0] + [0.5] * 40)
    options = config(epochs=60, evaluate_every=2, patience=patience, patience_steps=steps)
    log = fit_best(Line(), batches, options, seed=0, validate=lambda: {"ndcg@10": next(values)}, device="cpu")
    assert (len(log.epochs), log.best_epoch) == (stopped, 2)
    assert all(record["steps"] == 3 for record in log.epochs)


def test_without_patience_the_last_epoch_is_kept() -> None:
    module, weights = Line(), []

    def validate() -> dict[str, float]:
        weights.append(module.weight.detach().clone())
        return {"ndcg@10": -float(len(weights))}

    log = fit_best(module, one_batch, config(epochs=4), seed=0, validate=validate, device="cpu")
    assert (len(log.epochs), log.best_epoch) == (4, 1)
    assert torch.equal(module.weight, weights[-1])


def test_validation_comes_every_so_many_epochs_and_at_the_end() -> None:
    calls: list[int] = []

    def validate() -> dict[str, float]:
        calls.append(1)
        return {"ndcg@10": 0.0}

    log = fit_best(Line(), one_batch, config(epochs=5, evaluate_every=2), seed=0, validate=validate, device="cpu")
    assert [e["epoch"] for e in log.epochs if "valid" in e] == [2, 4, 5]


def test_an_unknown_metric_lists_the_measured_ones() -> None:
    with pytest.raises(ConfigError, match=r"'ndcg@10' is not among the validation metrics: hit@1"):
        fit_best(Line(), one_batch, config(), seed=0, validate=lambda: {"hit@1": 1.0}, device="cpu")


def test_a_stopped_run_continues_bitwise_equal(tmp_path: Path) -> None:
    def run(module: Line, epochs: int, folder: Path | None) -> object:
        options = config(epochs=epochs, weight_decay=0.01)
        return fit_best(
            module, random_batches, options, seed=5, folder=folder, checkpoint_every_s=0, device="cpu"
        ).epochs

    whole, first, second = Line(0.3), Line(0.3), Line(0.3)
    run(whole, 6, None)
    run(first, 3, tmp_path)
    log = run(second, 6, tmp_path)
    assert len(log) == 6  # type: ignore[arg-type]
    assert torch.equal(second.weight, whole.weight)
    assert torch.equal(second.seen, whole.seen)


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(143), RuntimeError("no memory")])
@pytest.mark.parametrize("held", [checkpoint.HELD_BYTES, 0])
def test_what_ends_a_training_early_loses_the_epoch_at_hand_at_most(
    end: BaseException, held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before the first regular checkpoint; a state too large to be held twice is written after the first epoch."""
    monkeypatch.setattr(checkpoint, "HELD_BYTES", held)

    def ended(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        for step, batch in enumerate(random_batches(epoch, generator)):
            if (epoch, step) == (3, 2):  # weights have moved on since the last whole epoch
                raise end
            yield batch

    options = config(epochs=6, weight_decay=0.01, patience=50, metric="hit")
    found: list[list[float]] = []
    modules = [Line(0.3), Line(0.3), Line(0.3)]
    for module, batches, folder in zip(
        modules, (random_batches, ended, random_batches), (None, *[tmp_path] * 2), strict=True
    ):
        values: list[float] = []

        def validate(module: Line = module, values: list[float] = values) -> dict[str, float]:
            values.append(float(module.weight.detach().sum()))
            return {"hit": -abs(values[-1] - 2.0)}

        found.append(values)
        expected = pytest.raises(type(end)) if batches is ended else nullcontext()
        with expected:
            fit_best(module, batches, options, seed=5, folder=folder, validate=validate, device="cpu")
        assert folder is None or (folder / checkpoint.STATE).exists()
    assert found[0] == found[1] + found[2] if held else found[0][1:] == found[2]
    assert torch.equal(modules[2].weight, modules[0].weight)
    assert torch.equal(modules[2].seen, modules[0].seen)


def test_a_wrong_option_leaves_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        fit_best(Line(), one_batch, config(), seed=0, folder=tmp_path, validate=lambda: {"hit@1": 1.0}, device="cpu")
    assert not list(tmp_path.iterdir())


def test_only_the_newest_checkpoint_is_kept(tmp_path: Path) -> None:
    fit_best(Line(), one_batch, config(epochs=4), seed=0, folder=tmp_path, checkpoint_every_s=0, device="cpu")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-4.safetensors", "state.json"]


def test_a_torn_checkpoint_is_said_and_training_starts_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit_best(Line(), one_batch, config(epochs=2), seed=0, folder=tmp_path, checkpoint_every_s=0, device="cpu")
    stored = tmp_path / "checkpoint-2.safetensors"
    stored.write_bytes(stored.read_bytes()[:40])
    module, whole = Line(), Line()
    fit_best(module, one_batch, config(epochs=4), seed=0, folder=tmp_path, device="cpu")
    assert "is not used, and training starts again" in capsys.readouterr().err
    fit_best(whole, one_batch, config(epochs=4), seed=0, device="cpu")
    assert torch.equal(module.weight, whole.weight)


def test_a_full_disk_names_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(ArtifactError, match=r"cannot write .*checkpoint-1.* No space left on device"):
        fit_best(Line(), one_batch, config(), seed=0, folder=tmp_path, checkpoint_every_s=0, device="cpu")


PROGRAM = """
import sys
from pathlib import Path
import numpy as np, torch
from safetensors.torch import save_file
from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch
from interlingua.training.loop import fit_best

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.out, self.drop = torch.nn.Embedding(50, 16), torch.nn.Linear(16, 50), torch.nn.Dropout(0.2)
    def forward(self, batch):
        logits = self.out(self.drop(self.table(batch.users)))
        return {"ce": torch.nn.functional.cross_entropy(logits, batch.positives)}

def batches(epoch, generator):
    for _ in range(8):
        users = torch.as_tensor(generator.integers(0, 50, 32))
        yield Batch(users, (users * 7 + 3) % 50)

net = Net()
def validate():
    print("epoch", flush=True)
    with torch.no_grad():
        users = torch.arange(50)
        return {"acc": float((net.out(net.table(users)).argmax(1) == (users * 7 + 3) % 50).float().mean())}

folder = Path(sys.argv[1])
folder.mkdir(exist_ok=True)
config = FitConfig(epochs=100, learning_rate=0.003, metric="acc", patience=200, schedule="cosine", clip_norm=1.0)
log = fit_best(net, batches, config, seed=3, validate=validate, folder=folder, checkpoint_every_s=0, device="cpu")
save_file({**net.state_dict(), "best": torch.tensor([log.best, float(log.best_epoch)])}, folder / "final.safetensors")
"""


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_killed_at_a_random_moment_the_result_is_bitwise_that_of_an_undisturbed_run(tmp_path: Path) -> None:
    undisturbed = start(tmp_path / "whole")
    moments = np.random.default_rng(int(time.time()))
    victim = start(tmp_path / "killed")
    assert victim.stdout is not None
    for _ in range(int(moments.integers(2, 50))):
        victim.stdout.readline()
    time.sleep(float(moments.uniform(0, 0.02)))
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    assert 0 < start(tmp_path / "killed").communicate(timeout=120)[0].count("epoch") < 100
    undisturbed.communicate(timeout=120)
    whole, resumed = (load_file(tmp_path / name / "final.safetensors") for name in ("whole", "killed"))
    assert set(whole) == set(resumed)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
