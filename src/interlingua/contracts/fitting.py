"""The data and tools of a fit: the one argument of every ``fit``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.text import Text
from interlingua.data.catalogue import Catalogue

if TYPE_CHECKING:
    from interlingua.data.interactions import Interactions

Batches = Callable[[int, np.random.Generator], Iterable[Batch]]
"""(epoch, generator) -> the epoch's batches"""
Loop = Callable[[Batches, FitConfig], FitLog]


class Validate(Protocol):
    """Measures what is being fitted on the validation part."""

    def __call__(self, max_users: int | None = None) -> dict[str, float]:
        """Metrics; of a random part of at most ``max_users`` users, always the same (None: as many as usual)."""
        ...


@dataclass(frozen=True)
class Fitting:
    """One fit. It never gets the test part, and the validation part only through the loop's early stopping."""

    train: Interactions
    text: Text | None = None
    """vectors of texts, if the recipe has a text source"""
    backbone: Any = None
    """the :class:`interlingua.contracts.backbone.Backbone` that an aligner joins with the texts"""
    loop: Loop | None = None
    """trains the stage's modules by gradient: it resumes, shows progress, stops early, keeps the best"""
    earlier: Loop | None = None
    """the same for a training that another follows in the same fit; None: as ``loop``"""
    validate: Validate | None = None
    """metrics, on the validation part, of what is being fitted; None: nothing is measured here"""
    texts: Mapping[str, Text] = field(default_factory=dict)
    """vectors of the sections ``[texts.NAME]``, by name"""
    catalogue: Catalogue | None = None
    """the items' columns, for a backbone that reads them by itself"""
    tables: Mapping[str, Tensor] = field(default_factory=dict)
    """exports of the stages before this one, by name: an aligner finds the backbone's ``items`` here"""
    seed: int = 0
    """seed of random numbers in an export"""

    def by_gradient(self, batches: Batches, config: FitConfig, *, earlier: bool = False) -> FitLog:
        """Runs the loop.

        Args:
            batches: see :data:`Batches`.
            config: how to train.
            earlier: another training follows in the same fit.

        Raises:
            RuntimeError: the job was made without a loop.
        """
        if self.loop is None:
            raise RuntimeError("this fit has no training loop: stages give one, see interlingua.runs.stages")
        loop = self.earlier if earlier and self.earlier is not None else self.loop
        return loop(batches, config)
