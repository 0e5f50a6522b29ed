"""What a component is fitted on, and with what: the one argument of every ``fit``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.text import Text

if TYPE_CHECKING:
    from interlingua.data.interactions import Interactions

Batches = Callable[[int, np.random.Generator], Iterable[Batch]]
"""(epoch, generator) -> the epoch's batches"""
Loop = Callable[[Batches, FitConfig], FitLog]


@dataclass(frozen=True)
class Fitting:
    """One fit. The test part never reaches it, the validation part only through the loop's early stopping."""

    train: Interactions
    text: Text | None = None
    """vectors of texts, where the recipe has a source of them"""
    backbone: Any = None
    """the :class:`interlingua.contracts.backbone.Backbone` that an aligner joins with the texts"""
    loop: Loop | None = None
    """trains what the stage has put together, by gradient: it resumes, shows progress, stops early, keeps the best"""
    texts: Mapping[str, Text] = field(default_factory=dict)
    """vectors of the sections ``[texts.NAME]``, by name"""

    tables: Mapping[str, Tensor] = field(default_factory=dict)
    """what the stages before this one export, by name: an aligner finds the backbone's ``items`` here"""
    seed: int = 0
    """of whatever an export draws"""

    def by_gradient(self, batches: Batches, config: FitConfig) -> FitLog:
        """Runs the loop.

        Raises:
            RuntimeError: whoever made this job gave none.
        """
        if self.loop is None:
            raise RuntimeError("this fit has no training loop: stages give one, see interlingua.runs.stages")
        return self.loop(batches, config)
