"""What trials came to: each with its options, its value on the validation part, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any

from interlingua.evaluate.named import lower_is_better
from interlingua.tune.space import overrides_of


@dataclass(frozen=True)
class TrialResult:
    """One trial."""

    number: int
    """from 0; 0 is the recipe as it stands, where the space holds it"""
    state: str
    """``complete``, ``pruned`` or ``failed``"""
    options: dict[str, Any]
    value: float | None = None
    """of the metric, on the validation part"""
    interval: tuple[float, float] | None = None
    """95 % bootstrap interval over users"""
    seconds: float = 0.0
    """of this trial: stages that another one had finished cost nothing"""
    run: str | None = None
    why: str = ""
    """why it was pruned or failed"""


@dataclass(frozen=True)
class Tuned:
    """What a study has found so far."""

    recipe: str
    metric: str
    protocol: str
    trials: list[TrialResult] = field(default_factory=list)
    storage: str = ""

    @property
    def ordered(self) -> list[TrialResult]:
        """The best first, of equals the earlier; trials without a value last."""
        sign = 1 if lower_is_better(self.metric) else -1
        return sorted(self.trials, key=lambda trial: inf if trial.value is None else sign * trial.value)

    @property
    def best(self) -> TrialResult | None:
        """The best finished trial; of equals the first. None: no trial has a value."""
        return next((trial for trial in self.ordered if trial.value is not None), None)

    @property
    def seconds(self) -> float:
        """Of all trials."""
        return sum(trial.seconds for trial in self.trials)

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        best = self.best
        return {
            "recipe": self.recipe, "metric": self.metric, "protocol": self.protocol, "part": "valid",
            "storage": self.storage, "seconds": round(self.seconds, 3),
            "best": None if best is None else vars(best) | {"set": overrides_of(best.options)},
            "trials": [vars(trial) for trial in self.trials],
        }  # fmt: skip
