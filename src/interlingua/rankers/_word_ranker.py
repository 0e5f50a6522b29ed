"""Parts of rankers whose language model learns to answer in words: LoRA adapters or all weights, checked and stored.

Shape key: B queries, C candidates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import Ranker, RankerInputs
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import ConfigError
from interlingua.injection.loading import language_model, whole_model
from interlingua.lm.adapter_checks import store_checked
from interlingua.lm.adapters import tuned
from interlingua.lm.models import LanguageModel

AT_ONCE = 16
"""queries per forward pass of the language model when scoring"""


class WordRanker(Ranker):
    """A language model that learns; a subclass has ``batches``, ``forward`` and :meth:`score_some`."""

    lm: LanguageModel

    def __init__(self, config: Any, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        base = language_model(config)
        assert base is not None
        found = tuned(base, config.tune, config.lora)
        assert found is not None
        self.tuned, self.lm = found, found.lm
        self.register_buffer("device_of", torch.zeros(()), persistent=False)

    device_of: torch.Tensor

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Needs a retriever, and no vectors."""
        return frozenset({"scores"})

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.device_of.device

    def _place(self) -> None:
        """The language model is no child module: all of it follows the parameters to their device here."""
        self.lm.place(self.device)

    def fit(self, job: Fitting) -> FitLog:
        """By gradient. Adapters to begin with are only read here: the trained ones are stored with the run.

        Raises an error if the language model did not change.
        """
        if self.config.adapters is not None:
            self.tuned.load(Path(self.config.adapters).expanduser())
        log = super().fit(job)
        self.tuned.check_it_changes_something(f"this {type(self).__name__}")
        return log

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Stored adapters that change nothing are refused."""
        found = super().load_state_dict(*args, **kwargs)
        self.tuned.check_it_changes_something(f"this {type(self).__name__}")
        return found

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """Writes LoRA adapters alone, in peft's layout, and checks what was written."""
        return store_checked(self.tuned, self.config.lora, folder / "adapters")

    def writer(self) -> LanguageModel:
        """See :class:`Ranker`: the model as it was before it learned to answer one question."""
        return whole_model(self.config)

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(B, C) scores of candidates, some queries at a time (see :class:`interlingua.contracts.scorer.Scorer`).

        Raises:
            ConfigError: ``items`` is None.
        """
        if items is None:
            name = type(self).__name__
            raise ConfigError(f"the ranker {name} orders given candidates; retrieve some first (evaluate.retrieve)")
        self.eval()
        self._place()
        candidates = np.asarray(items, np.int64)
        steps = range(0, len(queries), AT_ONCE)
        found = [self.score_some(queries.slice(at, at + AT_ONCE), candidates[at : at + AT_ONCE]) for at in steps]
        return np.concatenate(found) if found else np.zeros(candidates.shape, np.float32)

    def score_some(self, queries: Queries, items: IntArray) -> FloatArray:
        """(B, C) scores of a few queries' candidates (B, C)."""
        raise NotImplementedError
