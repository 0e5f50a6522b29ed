"""TALLRec: a language model with LoRA says Yes or No to one item, after the titles that a user liked and did not.

Source: Bao et al., "TALLRec: An Effective and Efficient Tuning Framework to Align Large Language Model with
Recommendation", RecSys 2023, arXiv 2305.00447; the authors' code, SAI990323/TALLRec. The score of an item is
``z_Yes - z_No``, the logits of the two answers' first token; their softmax is its sigmoid, so that AUC, UAUC and log
loss (the protocol ``labelled``) read it as it is. It also orders candidates, at the cost of one question for each.

A-LLMRec's use of the name (20 candidates in the prompt, the answer is a title) is the recipe ``tallrec-titles``.

Shape key: B rows, C candidates, L events, K tokens of an item's title, what follows it, and the answer.

**Deviations:**
- The loss counts the answer's tokens; ``loss = "whole"`` counts those of question and answer, as the authors run it.
- LoRA starts from nothing, not from an Alpaca adapter (``adapters`` names one to begin with).
- Adam without decay and a constant rate; the authors: AdamW, 20 warm-up steps. The epoch with the best validation AUC
  is kept where ``fit.patience`` is set, with ``fit.metric = "auc"``, as with the authors.
- ``labels = "sampled"`` asks data without labels: an event is a Yes, an unseen item a No, and nothing is disliked.
- Events are ordered by time (the authors sort times as text), samples are drawn from all of them (the authors keep the
  last 10,000), and the questions are in our own words.
- Where the tokenizer splits Yes or No, the score is the difference of the whole words' log-likelihoods: the same number
  where each is one token.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch, FloatArray
from interlingua.contracts.ranker import RankerInputs
from interlingua.data.opinions import last_opinions
from interlingua.data.queries import PAD, IntArray, Queries
from interlingua.injection.hard_prompt import padded
from interlingua.lm.adapters import LoraOptions
from interlingua.lm.likelihood import target_log_likelihood, title_log_likelihood
from interlingua.lm.prompt import PromptBatch, embed_prompts
from interlingua.lm.question import Question
from interlingua.lm.template import FOLDER
from interlingua.rankers._word_ranker import WordOptions, WordRanker
from interlingua.training.batches import Negatives
from interlingua.training.labelled import labelled_events
from interlingua.training.opinions import opinion_batches, questions, sampled_opinion_batches


class TallRecConfig(WordOptions):
    """Options of :class:`TallRec`."""

    named_templates = {"template": FOLDER}

    template: str = "tallrec"
    """a template's name or path, with slots ``{history}``, ``{disliked}`` and ``{target}``"""
    labels: Literal["sampled", "data"] = "sampled"
    """what is a No: an unseen item beside each event, or the data's own labels (``data.label``; paper)"""
    loss: Literal["answer", "whole"] = "answer"
    """which tokens the loss counts: the answer's, or all of question and answer (authors' code)"""
    samples: int | None = Field(default=None, ge=1)
    """train on so many random events only, the same in each epoch (paper: 16, 64 or 256; None: on all)"""
    lora: LoraOptions = LoraOptions(dropout=0.05)
    """rank, alpha, dropout and modules of the adapters (paper: 8, 16, .05, queries and values)"""
    fit: FitConfig = FitConfig(learning_rate=1e-4, batch_size=16, epochs=3)
    """training (authors: 1e-4, batches of 128, at most 200 epochs)"""


class TallRec(WordRanker):
    """Titles liked and not liked in, Yes or No to one item out."""

    Config = TallRecConfig
    version = 1
    validation = "pairs"
    ranks_catalogue = False

    def __init__(self, config: TallRecConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        self.question = Question(config.template, self.lm, inputs.titles, inputs.domain, config.max_title_tokens)
        self._events = labelled_events(inputs.train) if config.labels == "data" else inputs.train
        self._chosen = questions(self._events) if len(self._events) else np.zeros(0, np.int64)
        if config.samples is not None:  # drawn with the stage's seed, so that a resumed run has the same
            self._chosen = np.sort(self._chosen[torch.randperm(len(self._chosen))[: config.samples].numpy()])
        self._negatives: Negatives | None = None

    @classmethod
    def needs(cls, config: TallRecConfig) -> frozenset[str]:
        """Needs a retriever, no vectors, and labels where it learns from them."""
        return super().needs(config) | (frozenset({"labels"}) if config.labels == "data" else frozenset())

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Questions with their answers, each once."""
        config: TallRecConfig = self.config
        length, size = config.history_length, config.fit.batch_size
        if config.labels == "data":
            return opinion_batches(self._events, self._chosen, length, size, generator)
        self._negatives = self._negatives or Negatives(self._events)
        return sampled_opinion_batches(self._events, self._chosen, length, size, generator, self._negatives)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss ``answer``: mean cross-entropy of the counted tokens."""
        assert batch.histories is not None
        assert batch.labels is not None
        self._place()
        histories = batch.histories.cpu().numpy()
        good = np.ones(histories.shape, bool)
        if batch.history_labels is not None:
            good = batch.history_labels.cpu().numpy() > 0
        prompts = self._prompts(np.where(good, histories, PAD), np.where(good, PAD, histories))
        ends = self.question.training_ends(batch.positives.cpu().numpy(), batch.labels.cpu().numpy() > 0)
        whole = self.config.loss == "whole"
        texts = [
            [*ids[mask > 0].tolist(), *end.middle, *end.answer]
            for ids, mask, end in zip(prompts.input_ids, prompts.attention_mask, ends, strict=True)
        ]
        cuts = [1 if whole else len(text) - len(end.answer) for text, end in zip(texts, ends, strict=True)]
        pairs = list(zip(texts, cuts, strict=True))
        before, mask = padded([text[:cut] for text, cut in pairs], self.lm.pad_token_id)
        ids, counted = padded([text[cut:] for text, cut in pairs], self.lm.pad_token_id)
        embeds, lengths = self.lm.embed(before), counted.sum(1)
        found = target_log_likelihood(self.lm, embeds, mask.to(embeds.device), ids.numpy(), lengths.numpy())
        return {"answer": -found.sum() / float(lengths.sum())}

    def _prompts(self, liked: IntArray, disliked: IntArray) -> PromptBatch:
        """What stands before the item in question."""
        return self.question.before.assemble(liked, further={"disliked": disliked}, max_length=self.lm.max_positions)

    def score_some(self, queries: Queries, items: IntArray) -> FloatArray:
        """(B, C) z_Yes - z_No of each candidate: both answers share every token before them, so the rest cancels."""
        labelled = self._events if self.config.labels == "data" else None
        prompts = self._prompts(*last_opinions(queries, labelled, self.config.history_length))
        embeds = embed_prompts(self.lm, prompts)
        mask = torch.as_tensor(prompts.attention_mask, device=embeds.device)
        ids, lengths = self.question.both_answers(items)
        found = title_log_likelihood(self.lm, embeds, mask, ids, lengths).reshape(*items.shape, 2)
        return (found[..., 0] - found[..., 1]).numpy()
