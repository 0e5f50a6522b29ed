"""The log of a training: a record per epoch, the best epoch, whether patience is used up; a file of JSON lines."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interlingua.config import FitConfig

LOG_FILE = "log.jsonl"


@dataclass
class FitLog:
    """The log of :func:`interlingua.training.loop.fit_best`."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    """one record each: number, seconds, rows, optimiser steps, mean losses, and validation metrics where measured"""
    best_epoch: int = 0
    """0: none was validated"""
    best: float = -math.inf
    trained: bool = True
    """False: a closed form, or nothing to learn: there is no record to write"""

    @classmethod
    def untrained(cls) -> FitLog:
        """The log of a fit without steps."""
        return cls(trained=False)

    @property
    def steps(self) -> int:
        """Optimiser steps of all epochs."""
        return sum(record["steps"] for record in self.epochs)

    @property
    def samples(self) -> int:
        """Number of samples in the batches of all epochs."""
        return sum(int(record["rows"]) for record in self.epochs)

    def exhausted(self, config: FitConfig) -> bool:
        """Whether patience is used up: the number of validations and of steps without a better metric.

        Only epochs after which the training may stop count.
        """
        if config.patience is None or not self.epochs or "valid" not in self.epochs[-1]:
            return False
        if not config.may_stop(self.epochs[-1]["epoch"]):
            return False
        behind = [record for record in self.epochs if record["epoch"] > self.best_epoch]
        since = [record for record in behind if config.may_stop(record["epoch"])]
        validations, steps = sum("valid" in record for record in since), sum(record["steps"] for record in since)
        return validations >= config.patience and steps >= config.patience_steps

    def after(self, phase: str, earlier: FitLog) -> FitLog:
        """The log of both, the records of an earlier phase first and marked with its name; the best is this one's."""
        marked = [{"phase": phase, **record} for record in earlier.epochs]
        return FitLog(marked + self.epochs, self.best_epoch, self.best)

    def in_words(self, config: FitConfig) -> str:
        """Says which epoch is kept, and why the training ended."""
        if not self.best_epoch:
            return f"{len(self.epochs)} epochs, none validated"
        ended = "" if self.exhausted(config) else f"; ended by fit.epochs = {config.epochs} before patience did"
        return f"best epoch {self.best_epoch} of {len(self.epochs)}, {config.metric} {self.best:.4f}{ended}"

    def save(self, folder: Path) -> dict[str, int | None]:
        """Writes the records; returns the training's length for a stage's card. Does nothing if nothing was trained."""
        if not self.trained:
            return {}
        lines = [json.dumps(record) for record in self.epochs]
        lines.append(json.dumps({"best_epoch": self.best_epoch, "best": self.best if self.best_epoch else None}))
        (folder / LOG_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return {"epochs": len(self.epochs), "best_epoch": self.best_epoch or None, "steps": self.steps}
