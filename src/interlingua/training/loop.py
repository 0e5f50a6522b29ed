"""The one training loop: :func:`fit` yields epochs; :func:`fit_best` validates, keeps the best, checkpoints, resumes.

Randomness is re-seeded from (seed, epoch) at the start of every epoch, so a checkpoint needs no generator states and a
resumed run is bitwise equal to an uninterrupted one on CPU. Checkpoints are safetensors and JSON.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch
from interlingua.contracts.fit_log import FitLog
from interlingua.errors import ConfigError, DataError, DivergedError, InterlinguaError
from interlingua.progress import task
from interlingua.runtime.repeatable import repeatable
from interlingua.training.checkpoint import Checkpoint, load_trained, trainable_state
from interlingua.training.listeners import tell
from interlingua.training.steps import Steps

Batches = Callable[[int, np.random.Generator], Iterable[Batch]]
"""(epoch number from 0, its own generator) -> the batches of that epoch"""


@dataclass(frozen=True)
class Epoch:
    """One finished pass: ``number`` counts from 1, ``losses`` are means over steps."""

    number: int
    losses: dict[str, float]
    seconds: float
    samples: int
    steps: int


def derive_seed(seed: int, *parts: object) -> int:
    """A 63-bit seed from a seed and any labels: independent streams without shared state."""
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_all(seed: int) -> np.random.Generator:
    """Seeds python, numpy and torch; returns a fresh generator for sampling."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


def check_device(device: str) -> str:
    """The name as given.

    Raises:
        ConfigError: no such device, or torch does not see it on this machine.
    """
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise ConfigError(f"unknown device {device!r}: use auto, cpu, cuda or mps")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' was asked for, but torch sees no CUDA device; use --device cpu or auto")
    if device == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' was asked for, but torch sees no Apple GPU; use --device cpu or auto")
    return device


def check_processes() -> None:
    """Refuses to be one of several processes of one training, which would wait for each other's stages.

    Raises:
        ConfigError: started by ``torchrun`` or ``accelerate launch`` with more than one process.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size.isdigit() and int(size) > 1:
        raise ConfigError(
            f"this is one of {size} processes (WORLD_SIZE), but training in several processes does not exist yet: "
            "start interlingua by itself, without torchrun; one process uses one GPU and all CPU cores"
        )


_requested_before: list[tuple[bool, str]] = []
"""(whether the CPU was asked for, precision) of the last call"""


def accelerator(device: str = "auto", precision: str = "no") -> Any:
    """Accelerate's object that knows device and precision.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``no`` (fp32), ``bf16`` or ``fp16``.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    check_processes()
    check_device(device)
    requested = (device == "cpu", precision)
    if _requested_before not in ([], [requested]):  # Accelerate keeps the first answer of a process for all others
        AcceleratorState._reset_state(reset_partial_state=True)
    _requested_before[:] = [requested]
    return Accelerator(cpu=requested[0], mixed_precision=requested[1])


def fit(
    module: nn.Module,
    batches: Batches,
    config: FitConfig,
    *,
    seed: int,
    device: str = "auto",
    precision: str = "no",
    optimizer: torch.optim.Optimizer | None = None,
    first_epoch: int = 0,
    first_step: int = 0,
    on_step: Callable[[int, int | None], None] | None = None,
) -> Iterator[Epoch]:
    """Trains ``module`` (``forward(batch) -> dict of scalar losses``) and yields after each epoch.

    Args:
        module: trained in place; parameters with ``requires_grad=False`` stay bitwise unchanged.
        batches: makes the batches of an epoch.
        config: optimiser and length.
        seed: every random number of the run follows from it.
        device: see :func:`accelerator`.
        precision: see :func:`accelerator`.
        optimizer: a prepared Adam (resuming); a new one otherwise.
        first_epoch: epochs done by an earlier process.
        first_step: steps of these epochs.
        on_step: told after each step: (steps of this epoch that are done, of how many; None: not known yet).
    """
    machine = accelerator(device, precision)
    module, optimizer = machine.prepare(module, optimizer or make_optimizer(module, config))
    known, before = Steps(batches, config.steps_per_epoch), first_step
    for epoch in range(first_epoch, config.epochs):
        generator = seed_all(derive_seed(seed, "epoch", epoch))
        started, samples, steps = time.perf_counter(), 0, 0
        sums: dict[str, Tensor] = {}
        module.train()
        for step, batch in enumerate(batches(epoch, generator)):
            if config.steps_per_epoch is not None and step >= config.steps_per_epoch:
                break
            with repeatable(machine.device.type == "cpu"):
                losses = module(batch.to(machine.device))
                optimizer.zero_grad(set_to_none=True)
                machine.backward(torch.stack([value.float() for value in losses.values()]).sum())
            if config.clip_norm is not None:
                machine.clip_grad_norm_(module.parameters(), config.clip_norm)
            _set_learning_rate(optimizer, config, epoch, step, before + step)
            optimizer.step()
            for name, value in losses.items():
                sums[name] = sums[name] + value.detach() if name in sums else value.detach()
            samples, steps = samples + len(batch), steps + 1
            if on_step is not None:
                on_step(steps, known.total(epoch, time.perf_counter() - started))
        known.finished(steps)
        before += steps
        if not steps:
            raise DataError(
                f"nothing to train on: epoch {epoch + 1} has no batch; look at the sizes of the split's parts "
                "(interlingua data describe)"
            )
        module.eval()
        means = {name: float(value) / max(steps, 1) for name, value in sums.items()}
        _check_finite(means, epoch)
        yield Epoch(epoch + 1, means, time.perf_counter() - started, samples, steps)


def make_optimizer(module: nn.Module, config: FitConfig) -> torch.optim.Adam:
    """Adam (or AdamW) over the trainable parameters, in the groups that the options make of them."""
    learned = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    if not learned:
        raise ConfigError(f"{type(module).__name__} has no trainable parameter: nothing to fit")
    # fused: one pass over all parameters; .017 s a step instead of .104 for a 22M-parameter encoder on one CPU thread
    fused = all(p.device.type in ("cpu", "cuda") for p in module.parameters())
    betas = (0.9, config.beta2)
    adam = torch.optim.AdamW if config.decoupled else torch.optim.Adam
    optimizer = adam(
        config.groups(learned), lr=config.learning_rate, betas=betas, weight_decay=config.weight_decay, fused=fused
    )
    for group in optimizer.param_groups:
        group["base_lr"] = group["lr"]
    return optimizer


def _set_learning_rate(optimizer: Any, config: FitConfig, epoch: int, step: int, done: int) -> None:
    """For the step ``step`` (from 0) of an epoch (from 0), before which all epochs together did ``done`` steps."""
    per_epoch = config.steps_per_epoch or 0
    scale = min(1.0, (done + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    fraction = min((epoch + (step / per_epoch if per_epoch else 0.0)) / max(config.epochs, 1), 1.0)
    if config.schedule == "cosine":
        scale *= 0.5 * (1 + math.cos(math.pi * fraction))
    elif config.schedule == "linear":
        scale *= 1 - fraction
    elif config.schedule == "exponential":
        scale *= config.decay**epoch
    elif config.schedule != "constant":
        raise ConfigError(f"unknown schedule {config.schedule!r}: use constant, cosine, linear or exponential")
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * scale


def _check_finite(means: dict[str, float], epoch: int) -> None:
    bad = [name for name, value in means.items() if not math.isfinite(value)]
    if bad:
        raise DivergedError(
            f"training diverged in epoch {epoch + 1}: {', '.join(bad)} is not finite; "
            "lower fit.learning_rate or set fit.clip_norm"
        )


def fit_best(
    module: nn.Module,
    batches: Batches,
    config: FitConfig,
    *,
    seed: int,
    label: str = "train",
    validate: Callable[[], dict[str, float]] | None = None,
    folder: Path | None = None,
    key: str = "",
    checkpoint_every_s: float = 20.0,
    device: str = "auto",
    precision: str = "no",
    keep: bool = False,
) -> FitLog:
    """Runs :func:`fit` with progress, validation, early stopping on ``config.metric``, checkpoints and resume.

    With ``patience`` the best epoch's trainable weights end up in ``module``, otherwise the last epoch's.

    Args:
        module: see :func:`fit`.
        batches: see :func:`fit`.
        config: see :class:`FitConfig`.
        seed: see :func:`fit`.
        label: shown in the progress.
        validate: metrics of the module as it stands (on validation data only).
        folder: where checkpoints live; a matching one in it is continued. None: no checkpoints.
        key: of the stage that is trained: a checkpoint of another one is not continued.
        checkpoint_every_s: least seconds between two checkpoints; an interrupted training leaves one of its last epoch.
        device: see :func:`accelerator`.
        precision: see :func:`accelerator`.
        keep: leave a checkpoint of the finished training too, for a stage that trains something else afterwards.

    Returns:
        One record per epoch, and which was best.
    """
    module.to(accelerator(device, precision).device)
    optimizer = make_optimizer(module, config)
    state = Checkpoint(folder, key)
    log, best_weights = state.restore(module, optimizer)
    with task(label, config.epochs) as shown, _flushed(state):
        shown.start_at(len(log.epochs))
        if log.exhausted(config):
            epochs: Iterable[Epoch] = ()
        else:
            epochs = fit(
                module, batches, config, seed=seed, device=device, precision=precision,
                optimizer=optimizer, first_epoch=len(log.epochs), first_step=log.steps, on_step=shown.inside,
            )  # fmt: skip
        for epoch in epochs:
            record: dict[str, Any] = {"epoch": epoch.number, "seconds": round(epoch.seconds, 4)}
            record |= {"rows": epoch.samples, "steps": epoch.steps, "losses": epoch.losses}
            if validate is not None and config.validates(epoch.number):
                record["valid"] = validate()
                value = _metric(record["valid"], config.metric)
                if value > log.best:
                    log.best, log.best_epoch = value, epoch.number
                    if config.patience is not None:
                        best_weights = trainable_state(module, copy=True)
            log.epochs.append(record)
            shown.advance(note=_note(record, config.metric))
            tell(label, record)
            if log.exhausted(config):
                break
            if best_weights and config.goes_back(epoch.number):
                load_trained(module, best_weights)
            state.keep(module, optimizer, log, best_weights, checkpoint_every_s)
        if keep and folder is not None:
            state.save(module, optimizer, log, best_weights)
    if best_weights:
        load_trained(module, best_weights)
    module.eval()
    return log


@contextmanager
def _flushed(state: Checkpoint) -> Iterator[None]:
    """Whatever ends the block early (Ctrl-C, SIGTERM, no memory), finished epochs reach the disk."""
    try:
        yield
    except InterlinguaError:  # the options or the data are wrong: they would be so again
        raise
    except BaseException:
        state.flush()
        raise


def _metric(report: dict[str, float], name: str) -> float:
    if name not in report:
        raise ConfigError(f"fit.metric {name!r} is not among the validation metrics: {', '.join(sorted(report))}")
    return report[name]


def _note(record: dict[str, Any], metric: str) -> str:
    parts = [f"{name} {value:.4g}" for name, value in record["losses"].items()]
    if "valid" in record:
        parts.append(f"valid {metric} {record['valid'].get(metric, float('nan')):.4f}")
    return ", ".join(parts)
