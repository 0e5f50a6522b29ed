"""What is tuned: a recipe on data, over a space, by one metric of the validation part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from interlingua.errors import ConfigError, unknown
from interlingua.runs import recipe as recipes
from interlingua.runs.recipe import Recipe
from interlingua.runs.session import Session
from interlingua.storage.artifact import content_key
from interlingua.tune.space import Space, overrides_of, written

Sampler = Literal["tpe", "random"]


@dataclass(frozen=True)
class Request:
    """What is tuned, and how."""

    recipe: str
    space: Space
    data: str | None = None
    metric: str = "ndcg@10"
    protocol: str = "full"
    overrides: Sequence[str] = ()
    seed: int = 7
    sampler: Sampler = "tpe"
    prune: bool = True
    out: Path = Path("runs")
    storage: Path | None = None
    """None: a file below ``out``, named by everything that a trial's value depends on"""
    device: str = "auto"
    trust: bool = False

    def resolved(self, options: Mapping[str, Any] | None = None) -> Recipe:
        """The recipe with a trial's options, measured on the validation part alone."""
        measured = ['evaluate.part="valid"', f"evaluate.protocols=[{written(self.protocol)}]"]
        return recipes.load(
            self.recipe, [*self.overrides, *measured, *overrides_of(options or {})], self.data, trust=self.trust
        )

    def check(self) -> Recipe:
        """The recipe as it stands, after every end of every range and every choice was tried as an option.

        Raises:
            ConfigError: an option that the recipe has not, or a value that it cannot have.
        """
        recipe = self.resolved()
        for name, entry in self.space.items():
            for value in entry.ends:
                try:
                    self.resolved({name: value})
                except ConfigError as error:
                    raise ConfigError(f"search space, {name} = {written(value)}: {error}") from None
        if self.sampler not in ("tpe", "random"):
            raise ConfigError(unknown("sampler", self.sampler, ("tpe", "random")))
        return recipe

    def key(self, recipe: Recipe) -> str:
        """Of everything that the values of trials, or their proposals, depend on."""
        plan = Session(recipe, self.out, self.seed, self.device).plan
        space = {name: vars(entry) for name, entry in self.space.items()}
        return content_key({
            "stages": {kind: planned.key for kind, planned in plan.items()}, "space": space, "seed": self.seed,
            "metric": self.metric, "sampler": self.sampler, "prune": self.prune,
        })  # fmt: skip
