"""A frozen language model that reads titles alone, without any vector and without training: LLM-Only.

A baseline of A-LLMRec (Kim et al., KDD 2024, arXiv 2404.11343, section 4.1): its prompt without soft tokens. It uses
only what the language model knows about the titles. Candidates are ranked by the exact likelihood of their titles, or
by what the model writes: ``paper`` is the authors' rule (the lower-cased title is found between the outermost quotes of
the output; greedy, penalty 1.5, at most 512 tokens), ``free`` the exact one (the line is the title). Most of what an
untrained model writes is no candidate, so it can lie below chance: the two kinds of numbers are two methods.

Shape key: B rows, C candidates, I items, H input width, T prompt tokens.

**Deviation:** the default is the likelihood; free generation orders one candidate and gives no other a score.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field

from interlingua.config import Config
from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import Ranker, RankerInputs
from interlingua.data.queries import IntArray, Queries
from interlingua.injection.loading import language_model, whole_model
from interlingua.injection.title_scoring import presented, score_titles, written_caveats
from interlingua.lm.here import missing
from interlingua.lm.locate import identity
from interlingua.lm.models import LanguageModel, Precision
from interlingua.lm.prompt import compile_template, embed_prompts
from interlingua.lm.template import FOLDER
from interlingua.rankers._given import given
from interlingua.runtime.missing import Missing

BLOCK = 16
"""queries per forward pass of the language model"""


class LlmOnlyConfig(Config):
    """Options of :class:`LlmOnly`."""

    named_models = {"model": identity}
    named_templates = {"template": FOLDER}

    model: str = "smollm2-135m"
    """name, folder or GGUF of a causal language model (paper: facebook/opt-6.7b)"""
    revision: str | None = None
    """commit or tag of a hub model; None: what the hub calls main, by its commit in key and card"""
    precision: Precision = "fp32"
    """fp32, bf16 or 4bit"""
    num_layers: int | None = Field(default=None, ge=1)
    """only the first layers of the language model (None: all)"""
    lm_weights: Literal["pretrained", "shuffled"] = "pretrained"
    """control: ``shuffled`` weights"""
    template: str = "next-item-titles"
    """a template's name or path, without slots for vectors"""
    history_length: int = Field(default=10, ge=1)
    """items of the history in the prompt (paper: 10)"""
    max_title_tokens: int | None = Field(default=None, ge=1)
    """longer titles are cut in prompts and answers"""
    scoring: Literal["likelihood", "generate", "free", "paper"] = "likelihood"
    """how candidates are ranked: by likelihood, by constrained generation, or 1 for the title that is written freely,
    by the exact rule (``free``) or by the authors' (``paper``)"""
    beams: int = Field(default=1, ge=1)
    """``generate``: hypotheses kept, and candidates that come out (1: greedy, Hit@1 only)"""
    length_normalisation: bool = False
    """likelihood: divide a title's log-likelihood by its number of tokens"""

    def lacks(self) -> list[Missing]:
        """What is missing: packages, or the language model."""
        return super().lacks() + missing(self.model, self.precision, self.lm_weights)

    def check_models(self) -> None:
        """Loads the model once: an unsupported family is refused here."""
        whole_model(self)


class LlmOnly(Ranker):
    """Titles in, likelihoods of titles out."""

    Config = LlmOnlyConfig
    version = 1
    lm: LanguageModel
    device_of: torch.Tensor

    def __init__(self, config: LlmOnlyConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        found = language_model(config)
        assert found is not None
        self.lm = found
        self.register_buffer("device_of", torch.zeros(()), persistent=False)  # no parameter says where it lives
        self.prompts = compile_template(
            config.template, self.lm, inputs.titles, inputs.domain, slots=(), max_title_tokens=config.max_title_tokens
        )

    @classmethod
    def needs(cls, config: LlmOnlyConfig) -> frozenset[str]:
        """Needs a retriever, and no vectors."""
        return frozenset({"scores"})

    @classmethod
    def caveats(cls, config: LlmOnlyConfig) -> list[str]:
        """Notes on scoring by generated text."""
        return written_caveats(config.scoring)

    def fit(self, job: Fitting) -> FitLog:
        """Nothing is learned."""
        return FitLog.untrained()

    def writer(self) -> LanguageModel:
        """See :class:`Ranker`."""
        return whole_model(self.config)

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(B, C) log-probability of each candidate's title (see :class:`interlingua.contracts.scorer.Scorer`).

        Raises:
            ConfigError: ``items`` is None.
        """
        candidates, steps = given(items, "llm-only"), range(0, len(queries), BLOCK)
        self.lm.place(self.device_of.device)
        scores = [self._some(queries.slice(at, at + BLOCK), candidates[at : at + BLOCK]) for at in steps]
        return np.concatenate(scores) if scores else np.zeros(candidates.shape, np.float32)

    def _some(self, queries: Queries, items: IntArray) -> FloatArray:
        config: LlmOnlyConfig = self.config
        shown = presented(items, queries) if "candidates" in self.prompts.needs else None
        history = queries.padded(config.history_length)
        prompts = self.prompts.assemble(history, shown, max_length=self.lm.max_positions)
        embeds = embed_prompts(self.lm, prompts)
        mask = torch.as_tensor(prompts.attention_mask, device=embeds.device)
        return score_titles(self.lm, self.prompts, embeds, mask, items, self.inputs.titles, config)
