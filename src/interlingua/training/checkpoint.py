"""Finished and unfinished trainings on disk: safetensors and JSON, hashed, and loaded completely or not at all."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from interlingua.contracts.fit_log import FitLog
from interlingua.errors import ArtifactError
from interlingua.progress import say
from interlingua.storage.artifact import content_key, file_hash
from interlingua.storage.durable import disk, replace

STATE = "state.json"
RENAMED = {"mixture.": "score_fusion."}
"""prefix of a stored tensor's name in earlier versions -> prefix today"""
HELD_BYTES = 512 * 2**20
"""a larger state is not held in memory beside the training"""


def trainable_state(module: nn.Module, *, copy: bool = False) -> dict[str, Tensor]:
    """The state without frozen parameters (a frozen language model is named in the card, not copied)."""
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    state = {k: v.detach() for k, v in module.state_dict().items() if k not in frozen}
    return {k: v.clone() for k, v in state.items()} if copy else state


def _todays(name: str, expected: Collection[str]) -> str:
    for old, new in RENAMED.items():
        if name.startswith(old) and new + name.removeprefix(old) in expected:
            return new + name.removeprefix(old)
    return name


def load_trained(module: nn.Module, state: Mapping[str, Tensor], where: str = "the weights") -> None:
    """Loads exactly what :func:`trainable_state` gives: only frozen parameters stay as they are.

    Raises:
        ArtifactError: something is missing, too much, or of another shape.
    """
    expected = set(trainable_state(module))
    state = {_todays(name, expected): tensor for name, tensor in state.items()}
    missing, more = sorted(expected - set(state)), sorted(set(state) - expected)
    problem = f"lack {', '.join(missing)}" if missing else f"hold {', '.join(more)} too" if more else ""
    try:
        if not problem:
            module.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:
        problem = f"do not fit: {str(error).splitlines()[-1].strip()}"
    if problem:
        raise ArtifactError(
            f"{where} {problem}; they are not those of this {type(module).__name__}: delete the folder and run again"
        )


class Checkpoint:
    """Weights, optimiser state, best weights and log; the JSON, renamed last, names the weights it belongs to.

    Args:
        folder: where it lives; None: nowhere.
        key: of the stage that is being trained.
    """

    def __init__(self, folder: Path | None, key: str = "") -> None:
        self.folder, self.key = folder, key
        self._saved_at: float | None = None
        self._begun_at = time.perf_counter()
        self._held: tuple[dict[str, Tensor], FitLog] | None = None

    def keep(
        self, module: nn.Module, optimizer: torch.optim.Optimizer, log: FitLog, best: dict[str, Tensor], every_s: float
    ) -> None:
        """After an epoch: writes it where the last writing is ``every_s`` ago, else holds a copy for :meth:`flush`.

        What is too large to be held twice is written after the first epoch, and again every ``every_s``.
        """
        if self.folder is None:
            return
        since = time.perf_counter() - (self._saved_at or self._begun_at)
        tensors = _tensors(module, optimizer, best)
        large = sum(value.nbytes for value in tensors.values()) > HELD_BYTES
        if since > every_s or (large and self._saved_at is None):
            self._write(tensors, log)
            self._saved_at, self._held = time.perf_counter(), None
        elif not large:  # the best weights are a copy already
            copies = {k: v if k.startswith("best/") else v.clone() for k, v in tensors.items()}
            self._held = copies, FitLog(list(log.epochs), log.best_epoch, log.best)

    def flush(self) -> None:
        """Writes the held copy, when the training ends early."""
        if self._held is not None:
            self._write(*self._held)
            self._held = None

    def save(self, module: nn.Module, optimizer: torch.optim.Optimizer, log: FitLog, best: dict[str, Tensor]) -> None:
        """Writes everything now."""
        self._write(_tensors(module, optimizer, best), log)

    def _write(self, tensors: Mapping[str, Tensor], log: FitLog) -> None:
        """An older one is removed once this one is whole."""
        assert self.folder is not None
        name = f"checkpoint-{len(log.epochs)}.safetensors"
        with disk(self.folder / name):
            temporary = self.folder / f"{name}.tmp"
            save_file({k: v.contiguous().clone() for k, v in tensors.items()}, temporary)
            state: dict[str, Any] = {
                "file": name,
                "sha256": file_hash(temporary),
                "key": self.key,
                "epochs": log.epochs,
            }
            state |= {"best_epoch": log.best_epoch, "best": log.best}
            replace(temporary, self.folder / name)
            text = json.dumps(state | {"state_sha256": _hash(state)})
            (self.folder / "state.tmp").write_text(text, encoding="utf-8")
            replace(self.folder / "state.tmp", self.folder / STATE)
        for old in self.folder.glob("checkpoint-*.safetensors"):
            if old.name != name:
                old.unlink(missing_ok=True)

    def restore(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[FitLog, dict[str, Tensor]]:
        """Log and best weights so far, with module and optimiser as they were; from the start where nothing is usable.

        A checkpoint that is torn, edited, or of another stage is said and left aside: training starts again.
        """
        if self.folder is None or not (self.folder / STATE).exists():
            return FitLog(), {}
        try:
            state, tensors = self._read(self.folder)
            return self._put(state, tensors, module, optimizer)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, ArtifactError) as error:
            say(f"the checkpoint in {self.folder} is not used, and training starts again: {error}")
            return FitLog(), {}

    def _read(self, folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        state = dict(json.loads((folder / STATE).read_text(encoding="utf-8")))
        if state.pop("state_sha256", None) != _hash(state):
            raise ValueError(f"{STATE} was changed after it was written")
        if state["key"] != self.key:
            raise ValueError(f"it is of another stage, {state['key'][:8]!r} instead of {self.key[:8]!r}")
        weights = folder / Path(str(state["file"])).name
        if file_hash(weights) != state["sha256"]:
            raise ValueError(f"{weights.name} was changed after it was written")
        return state, load_file(weights)

    @staticmethod
    def _put(
        state: Mapping[str, Any], tensors: Mapping[str, Tensor], module: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[FitLog, dict[str, Tensor]]:
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
        for name, value in tensors.items():
            group, _, rest = name.partition("/")
            groups[group][rest] = value
        entries: dict[int, dict[str, Tensor]] = {}
        for name, value in groups["optimizer"].items():
            index, _, entry = name.partition("/")
            entries.setdefault(int(index), {})[entry] = value
        learns = sum(len(group["params"]) for group in optimizer.param_groups)
        if not set(entries) <= set(range(learns)) or not set(groups["best"]) <= set(trainable_state(module)):
            raise ValueError("it belongs to a module with other parameters")
        load_trained(module, groups["model"], "its weights")
        optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})
        device = next(module.parameters()).device
        best = {name: value.to(device) for name, value in groups["best"].items()}
        return FitLog(state["epochs"], state["best_epoch"], state["best"]), best


def _tensors(module: nn.Module, optimizer: torch.optim.Optimizer, best: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Everything of a training that is a tensor, not copied: named ``model/``, ``best/`` and ``optimizer/``."""
    found = {f"model/{k}": v for k, v in trainable_state(module).items()}
    found |= {f"best/{k}": v for k, v in best.items()}
    for index, entry in optimizer.state_dict()["state"].items():
        found |= {f"optimizer/{index}/{k}": torch.as_tensor(v) for k, v in entry.items()}
    return found


def _hash(state: Mapping[str, Any]) -> str:
    """Of a checkpoint's entries as a reader will see them."""
    return content_key({"checkpoint": json.loads(json.dumps(dict(state)))})
