"""A language model that learns to say the next title: LoRA beside its weights, or all of them.

The prompt is the titles of the history. The loss is minus the log-likelihood of the next item's title; candidates are
ordered by that of theirs. Nothing of the collaborative side is read, so that this is the text-only end of the scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from interlingua.config import Config, FitConfig
from interlingua.contracts.batch import Batch, FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import Ranker, RankerInputs
from interlingua.data.queries import PAD, IntArray, Queries
from interlingua.injection.hard_prompt import padded, tokens
from interlingua.lm.adapters import LoraOptions, tuned
from interlingua.lm.encoder import frozen
from interlingua.lm.likelihood import target_log_likelihood, title_log_likelihood
from interlingua.lm.locate import identity
from interlingua.training.batches import last_position_batches

ROWS = 16
"""queries that the model reads at once"""


class NextTitleConfig(Config):
    """Options of ``next-title``."""

    named_models = {"model": identity}

    model: str = "smollm2-135m"
    """name, folder or GGUF of a causal language model"""
    tune: Literal["lora", "full"] = "lora"
    """what learns"""
    lora: LoraOptions = LoraOptions()
    """of LoRA"""
    history_length: int = Field(default=5, ge=1)
    """titles in the prompt, the last ones"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=16, epochs=1)
    """training"""


class NextTitle(Ranker):
    """Orders what another stage retrieved."""

    Config = NextTitleConfig

    def __init__(self, config: NextTitleConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        found = tuned(frozen(config.model, "fp32", None, "pretrained"), config.tune, config.lora)
        assert found is not None
        self.tuned = found
        self.lm = found.lm
        self.answers = [[*ids, self.lm.eos_token_id] for ids in tokens(self.lm, [f" {t}" for t in inputs.titles])]

    @classmethod
    def needs(cls, config: NextTitleConfig) -> frozenset[str]:
        """Something that retrieves."""
        return frozenset({"scores"})

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Each user's last event, after those before it."""
        config: NextTitleConfig = self.config
        length, rows = config.history_length, config.fit.batch_size
        return last_position_batches(self.inputs.train, length, rows, generator, num_negatives=0)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Minus the mean log-likelihood of the next title."""
        assert batch.histories is not None
        embeds, mask = self._prompts(batch.histories.tolist())
        ids, lengths = self._answers(batch.positives.tolist())
        return {"title": -target_log_likelihood(self.lm, embeds, mask, ids, lengths).mean()}

    def fit(self, job: Fitting) -> FitLog:
        """By gradient; adapters that learned nothing are an error."""
        log = super().fit(job)
        self.tuned.check_it_changes_something("next-title")
        return log

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Stored adapters must change something, too."""
        found = super().load_state_dict(*args, **kwargs)
        self.tuned.check_it_changes_something("next-title")
        return found

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """LoRA adapters alone, as peft reads them."""
        return {"tuned": self.tuned.save(folder / "adapters")}

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(B, C) log-probability of each candidate's title."""
        config: NextTitleConfig = self.config
        self.eval()
        rows = np.asarray(np.tile(np.arange(self.num_items), (len(queries), 1)) if items is None else items)
        out = [np.zeros((0, rows.shape[1]), np.float32)]
        for at in range(0, len(queries), ROWS):
            some = rows[at : at + ROWS]
            embeds, mask = self._prompts(queries.slice(at, at + ROWS).padded(config.history_length).tolist())
            ids, lengths = self._answers(some.ravel().tolist())
            shape = (*some.shape, -1)
            found = title_log_likelihood(self.lm, embeds, mask, ids.reshape(shape), lengths.reshape(some.shape))
            out.append(found.numpy())
        return np.concatenate(out)

    def _prompts(self, histories: list[list[int]]) -> tuple[Tensor, Tensor]:
        """(B, T, H) embeddings and (B, T) mask of the prompts."""
        domain, titles = self.inputs.domain, self.inputs.titles
        read = ["; ".join(titles[item] for item in history if item != PAD) for history in histories]
        texts = [f"{domain.past.capitalize()}: {each or 'nothing'}. Next {domain.noun}:" for each in read]
        ids, mask = padded(tokens(self.lm, texts), self.lm.pad_token_id)
        embeds = self.lm.embed(ids)
        return embeds, mask.to(embeds.device)

    def _answers(self, items: list[int]) -> tuple[IntArray, IntArray]:
        """(N, K) ids of titles, padded on the right, and (N,) lengths."""
        ids, mask = padded([self.answers[item] for item in items], self.lm.pad_token_id)
        return ids.numpy(), mask.sum(1).numpy()
