"""Parts of rankers whose language model learns to answer in words: adapters to begin with, candidates some at a time.

Shape key: B queries, C candidates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.data.queries import IntArray, Queries
from interlingua.rankers._given import given
from interlingua.rankers._tuned_ranker import TunedOptions, TunedRanker

AT_ONCE = 16
"""queries per forward pass of the language model when scoring"""


class WordOptions(TunedOptions):
    """Options that such rankers share."""

    files = ("adapters",)
    begins_with = ("adapters",)
    only_with = {**TunedOptions.only_with, "adapters": ("tune", ("lora",))}

    tune: Literal["lora", "full"] = "lora"
    """``lora``: adapters learn, ``full``: all of the language model's weights"""
    adapters: str | None = None
    """a folder of LoRA adapters in peft's layout to begin with, made for the same model; None: new ones"""
    history_length: int = Field(default=10, ge=1)
    """items of the history in the prompt (paper: 10)"""
    max_title_tokens: int | None = Field(default=None, ge=1)
    """longer titles are cut"""


class WordRanker(TunedRanker):
    """A subclass has ``batches``, ``forward`` and :meth:`score_some`."""

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Needs a retriever, and no vectors."""
        return frozenset({"scores"})

    def fit(self, job: Fitting) -> FitLog:
        """Adapters to begin with are only read here: the trained ones are stored with the run."""
        if self.tuned is not None and self.config.adapters is not None:
            self.tuned.load(Path(self.config.adapters).expanduser())
        return super().fit(job)

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(B, C) scores of candidates, some queries at a time (see :class:`interlingua.contracts.scorer.Scorer`).

        Raises:
            ConfigError: ``items`` is None.
        """
        candidates = given(items, type(self).__name__)
        self.eval()
        self._place()
        steps = range(0, len(queries), AT_ONCE)
        found = [self.score_some(queries.slice(at, at + AT_ONCE), candidates[at : at + AT_ONCE]) for at in steps]
        return np.concatenate(found) if found else np.zeros(candidates.shape, np.float32)

    def score_some(self, queries: Queries, items: IntArray) -> FloatArray:
        """(B, C) scores of a few queries' candidates (B, C)."""
        raise NotImplementedError
