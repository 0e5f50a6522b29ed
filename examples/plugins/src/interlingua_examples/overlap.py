"""Candidates by the words that their titles share with the titles of the history. No parameter, no language model."""

from __future__ import annotations

from typing import Any

import numpy as np

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import Ranker, RankerInputs
from interlingua.data.queries import IntArray, Queries


class Overlap(Ranker):
    """Orders what another stage retrieved."""

    def __init__(self, config: Any, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        self.words = [frozenset(title.lower().split()) for title in inputs.titles]

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Something that retrieves."""
        return frozenset({"scores"})

    def fit(self, job: Fitting) -> FitLog:
        """Nothing."""
        return FitLog.untrained()

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(B, C) words in common with the last three titles of the history."""
        if items is None:
            items = np.tile(np.arange(self.num_items), (len(queries), 1))
        out = np.zeros(np.shape(items), np.float32)
        for row, candidates in enumerate(np.asarray(items)):
            known = frozenset[str]().union(*(self.words[item] for item in queries.history(row)[-3:]))
            out[row] = [len(self.words[item] & known) for item in candidates]
        return out
