"""LLaRA: titles with the backbone's item vectors in the prompt of a model with LoRA, taken up step by step.

Source: Liao et al., "LLaRA: Large Language-Recommendation Assistant", SIGIR 2024, arXiv 2312.02445; the authors' code,
ljy0ustc/LLaRA. A projector (Linear, GELU, Linear) puts an item's vector behind its title, in the history and among 20
candidates; there is no user vector. The answer is the title and the end of the line; the loss is on it alone.

The curriculum (section 3.4): step s of S shows the hybrid prompt with probability ``(s + 1) / S``, the same text
without vectors otherwise; such a batch leaves the projector as it is. One of three wordings is drawn for each batch.

Shape key: B rows, L history, C candidates, I items, D item vectors, H input width, T prompt tokens.

**Deviations:**
- The counter runs over the whole training, as in the paper; in the authors' code every worker counts for itself and
  anew in each epoch, so that the probability stays near 1 / epochs.
- Candidates are drawn from the items without a training event of the user; those of a measurement are the protocol's,
  the same for every method (the authors draw anew at each reading, at test too).
- Questions are asked in the first wording, which is in our own words, like the others; histories of any length count.
- Adam at a constant rate for projector and adapters alike, Xavier weights; the authors: warm-up, cosine, weight decay
  on the projector.
- The default ranks by exact likelihood. ``scoring = "named"`` is the authors' answer: greedy, one line, valid if it
  contains exactly one candidate's title (read ``answer-hit`` and ``answer-valid``); ``free``: if it is that title.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch, FloatArray
from interlingua.contracts.ranker import RankerInputs
from interlingua.contracts.slots import Slot
from interlingua.data.queries import IntArray, Queries
from interlingua.injection import title_scoring as titles
from interlingua.injection.item_vectors import ItemVectors
from interlingua.injection.projector import Projector
from interlingua.lm import history as sequence
from interlingua.lm.adapters import LoraOptions
from interlingua.lm.likelihood import target_log_likelihood
from interlingua.lm.prompt import CompiledTemplate, compile_templates, embed_prompts
from interlingua.lm.template import FOLDER
from interlingua.rankers._word_ranker import WordOptions, WordRanker
from interlingua.training.batches import Negatives, last_position_batches

Schedule = Literal["curriculum", "hybrid", "two-stage", "text"]


class LlaraConfig(WordOptions):
    """Options of :class:`Llara`."""

    named_templates = {"template": FOLDER, "second_template": FOLDER, "third_template": FOLDER}

    template: str = "llara"
    """a template's name or path: the wording that is asked, and one of those that are trained"""
    second_template: str = "llara-2"
    """a further template to train with"""
    third_template: str = "llara-3"
    """a further template to train with"""
    item_vectors: Literal["align", "random"] = "align"
    """what stands behind a title: the vectors of backbone or aligner, or random ones (control)"""
    standardised: bool = True
    """shift and scale the item vectors (paper: no)"""
    prompts: Schedule = "curriculum"
    """which prompts train: text, then more and more hybrid ones; all hybrid (paper: direct); text in the first half of
    the steps, hybrid in the second (paper: two-stage); text alone, in training and in scoring"""
    num_candidates: int = Field(default=20, ge=2)
    """candidates in a training prompt, the answer included (paper: 20)"""
    all_positions: bool = False
    """every training event is an answer once, not only the user's last"""
    scoring: Literal["likelihood", "generate", "free", "named"] = "likelihood"
    """how candidates are ranked; ``named``: 1 for the one title that the written line contains (paper)"""
    beams: int = Field(default=1, ge=1)
    """``generate``: hypotheses kept, and candidates that come out (1: greedy, Hit@1 only)"""
    length_normalisation: bool = False
    """likelihood: divide by the number of answer tokens"""
    lora: LoraOptions = LoraOptions(alpha=32, dropout=0.1, modules="all")
    """rank, alpha, dropout and modules of the adapters (paper: 8, 32, .1, all linear layers)"""
    fit: FitConfig = FitConfig(learning_rate=8e-4, batch_size=16, epochs=5)
    """training (paper: 8e-4 on MovieLens, 5e-4 on Steam, 7e-4 on LastFM; batches of 128, 5 epochs)"""


def hybrid_share(schedule: Schedule, step: int, total: int) -> float:
    """Probability of the hybrid prompt at a step (counted from 0) of so many."""
    if schedule == "curriculum":
        return min((step + 1) / max(total, 1), 1.0)
    if schedule == "two-stage":
        return float(step >= total / 2)
    return float(schedule == "hybrid")


class Llara(WordRanker):
    """Titles with vectors in, the next title out."""

    Config = LlaraConfig
    version = 1

    def __init__(self, config: LlaraConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        self.vectors = ItemVectors(inputs, config.item_vectors, config.standardised)
        self.item_projector: Projector | None = None
        if config.prompts != "text":
            self.item_projector = Projector(self.vectors.dim, self.lm.hidden_size, nn.GELU(), "plain")
        names = (config.template, config.second_template, config.third_template)
        written = [(name, slots) for slots in ({}, self.slots()) for name in names]
        compiled = compile_templates(
            written, self.lm, inputs.titles, inputs.domain, max_title_tokens=config.max_title_tokens
        )
        self.text_prompts, self.hybrid_prompts = compiled[: len(names)], compiled[len(names) :]
        self._negatives: Negatives | None = None

    def slots(self) -> dict[str, Slot]:
        """``{item}``, unless it reads text alone."""
        return {} if self.item_projector is None else {"item": Slot("item")}

    @classmethod
    def needs(cls, config: LlaraConfig) -> frozenset[str]:
        """Needs a retriever and item vectors."""
        return frozenset({"scores", "items"})

    @classmethod
    def caveats(cls, config: LlaraConfig) -> list[str]:
        """Notes on scoring by generated text."""
        return titles.written_caveats(config.scoring)

    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch."""
        config = self.config
        steps = -(-self._samples // int(config.fit.batch_size))
        return steps if config.fit.steps_per_epoch is None else min(steps, int(config.fit.steps_per_epoch))

    @cached_property
    def _samples(self) -> int:
        """Answers of an epoch."""
        train = self.inputs.train
        counts = train.user_counts.copy()
        self._negatives = self._negatives or Negatives(train)
        counts[self._negatives.complete] = 0
        return int(np.maximum(counts - 1, 0).sum() if self.config.all_positions else (counts >= 2).sum())

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Prompts with one answer and its negatives, each with the number of its step."""
        config: LlaraConfig = self.config
        self._negatives = self._negatives or Negatives(self.inputs.train)
        drawn = last_position_batches(
            self.inputs.train, config.history_length, config.fit.batch_size, generator, negatives=self._negatives,
            num_negatives=config.num_candidates - 1, all_positions=config.all_positions,
        )  # fmt: skip
        before = epoch * self.steps_per_epoch()
        return (replace(batch, step=torch.tensor(before + number)) for number, batch in enumerate(drawn))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss ``lm``: mean cross-entropy of the answers' tokens."""
        assert batch.histories is not None
        assert batch.negatives is not None
        self._place()
        config: LlaraConfig = self.config
        total = config.fit.epochs * self.steps_per_epoch()
        fraction = 1.0 if batch.step is None else hybrid_share(config.prompts, int(batch.step), total)
        hybrid = float(torch.rand(())) < fraction
        wording = int(torch.randint(len(self.text_prompts), ()))
        compiled = (self.hybrid_prompts if hybrid else self.text_prompts)[wording]
        shown = sequence.shuffled(batch.positives, batch.negatives)
        embeds, mask = self._prompts(compiled, batch.histories.cpu().numpy(), shown)
        ids, lengths = compiled.target_ids(batch.positives.cpu().numpy(), eos=False)
        found = target_log_likelihood(self.lm, embeds, mask, ids, lengths)
        return {"lm": -found.sum() / float(lengths.sum())}

    def _prompts(self, compiled: CompiledTemplate, histories: IntArray, shown: IntArray) -> tuple[Tensor, Tensor]:
        """(B, T, H) left-padded prompts and their (B, T) mask."""
        candidates = shown if "candidates" in compiled.needs else None
        prompts = compiled.assemble(histories, candidates, max_length=self.lm.max_positions)
        items = None
        if "item" in compiled.slots and self.item_projector is not None:
            distinct, back = np.unique(prompts.item_indices, return_inverse=True)  # each item is projected once
            items = self.item_projector(self.vectors.joint[torch.as_tensor(distinct)])[torch.as_tensor(back)]
        embeds = embed_prompts(self.lm, prompts, items=items)
        return embeds, torch.as_tensor(prompts.attention_mask, device=embeds.device)

    def score_some(self, queries: Queries, items: IntArray) -> FloatArray:
        """(B, C) how well each candidate's title answers the first wording."""
        compiled = self.hybrid_prompts[0]
        shown = titles.presented(items, queries)
        embeds, mask = self._prompts(compiled, queries.padded(self.config.history_length), shown)
        return titles.score_titles(self.lm, compiled, embeds, mask, items, self.inputs.titles, self.config, eos=False)
