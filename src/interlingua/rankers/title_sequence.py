"""A frozen language model that reads a history as text with vectors, and names the title that comes next. Ours.

It grew out of A-LLMRec's stage 2 (:mod:`interlingua.rankers.soft_prompt`), whose prompt of some 480 tokens (10 titles
of the history, 20 candidates) trains one answer. Here the history itself is the text, ``"title"[vector],
"title"[vector], ...``: each next title is an answer in the same pass, for some 13 tokens, and no candidate is read. A
candidate is ranked by the exact likelihood of its title as the continuation of that text. Only the projectors learn
(and adapters, ``tune``).

The vector behind a title is the item's projected vector, and with ``slots.user`` the projected user as of that place is
added to it (a sequence model's state: then each place has a prediction of what follows before its first word).

A title's likelihood holds how likely the words are in any case. ``prior_weight`` takes that off: log p(title | history)
- weight * log p(title | no history), as pointwise mutual information does at weight 1 (Holtzman et al., EMNLP 2021,
arXiv 2104.08315).

Shape key: B rows, L history, C candidates, I items, D item vectors, H input width, T prompt tokens, n answer tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from interlingua.contracts.batch import Batch, FloatArray
from interlingua.contracts.ranker import RankerInputs
from interlingua.contracts.slots import Slot
from interlingua.data.queries import PAD, IntArray, Queries
from interlingua.errors import ConfigError
from interlingua.injection import title_scoring as titles
from interlingua.lm import history as sequence
from interlingua.lm.likelihood import title_log_likelihood
from interlingua.lm.models import LanguageModel
from interlingua.lm.packed import states_at
from interlingua.lm.prompt import PromptBatch, embed_prompts
from interlingua.lm.template import FOLDER
from interlingua.lm.token_loss import token_log_likelihood
from interlingua.rankers._given import given
from interlingua.rankers._vector_options import Slots, VectorRankerConfig
from interlingua.rankers._vector_ranker import AT_ONCE, VectorRanker

OF_A_HEAD = ("head_weight", "head_items", "distill_weight", "distill_temperature", "fuse_scores", "cold_weight",
             "unseen_floor")  # fmt: skip
"""options that mean nothing here"""


class TitleSlots(Slots):
    """Where the vectors behind the titles come from."""

    user: Literal["backbone", "none"] = "none"
    """the user's vector as of each place, added to the item's"""


class TitleSequenceConfig(VectorRankerConfig):
    """Options of :class:`TitleSequence`."""

    named_templates = {"template": FOLDER}

    slots: TitleSlots = TitleSlots()
    """which vectors are read"""
    template: str = "title-sequence"
    """a template's name or path: a history of titles that a title continues"""
    history_length: int = Field(default=20, ge=1)
    """titles in the prompt, and answers of a training pass"""
    batch_by: Literal["sequences", "events"] = "events"
    """what batches hold equally many of, see :func:`interlingua.training.batches.sequence_batches`"""
    prior_weight: float = Field(default=0.0, ge=0)
    """scoring: weight of the title's log-likelihood without a history, which is taken off (computed once for all)"""
    length_normalisation: bool = False
    """scoring: divide by the number of the title's tokens"""
    max_title_tokens: int | None = Field(default=None, ge=1)
    """longer titles are cut"""
    lm_weights: Literal["pretrained", "shuffled"] = "pretrained"
    """control: ``shuffled`` weights"""

    @model_validator(mode="after")
    def _no_head(self) -> TitleSequenceConfig:
        fields = type(self).model_fields
        if any(getattr(self, name) != fields[name].default for name in OF_A_HEAD):
            raise ValueError(
                f"{', '.join(OF_A_HEAD)} belong to a head over the items, which title-sequence does not have: leave "
                "them out, or use soft-prompt or sequence-head"
            )
        return self

    @model_validator(mode="after")
    def _something_to_learn(self) -> TitleSequenceConfig:
        if self.slots.item == "none" and self.slots.user == "none" and self.tune == "none":
            raise ValueError(
                "slots.item, slots.user and tune are all 'none': nothing to train (llm-only learns nothing)"
            )
        return self


class TitleSequence(VectorRanker):
    """A text of titles with vectors, continued by a title."""

    Config = TitleSequenceConfig
    version = 1
    lm: LanguageModel

    def __init__(self, config: TitleSequenceConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        self.prompts = titles.compiled(config, self.lm, inputs, self.slots())
        if self.prompts.needs != {"history"}:
            raise ConfigError(
                f"ranker.template = {config.template!r} must hold {{history}} and no other list: titles continue it"
            )
        self._priors: FloatArray | None = None

    def slots(self) -> dict[str, Slot]:
        """``{item}``, what stands behind a title."""
        config: TitleSequenceConfig = self.config
        empty = config.slots.item == "none" and config.slots.user == "none"
        return {} if empty else {"item": Slot("item")}

    def train(self, mode: bool = True) -> TitleSequence:
        """Training makes remembered likelihoods stale."""
        if mode:
            self._priors = None
        super().train(mode)
        return self

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Other weights make remembered likelihoods stale."""
        self._priors = None
        return super().load_state_dict(*args, **kwargs)

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Windows of histories with a target at every position."""
        return self.window_batches(generator)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss ``lm``: mean over the tokens of all titles but each window's first."""
        assert batch.histories is not None
        self._place()
        windows = torch.cat([batch.histories, batch.positives[:, -1:]], 1).cpu().numpy()
        prompts, embeds = self._prompts(windows, self.vectors.dropped(self.config.cold_dropout))
        indices, places = self._answers(windows)
        columns = prompts.input_ids.shape[1] - prompts.lengths[indices] + places  # prompts are padded on the left
        tokens = torch.as_tensor(prompts.input_ids[indices, columns], device=embeds.device)
        mask = torch.as_tensor(prompts.attention_mask, device=embeds.device)
        before = torch.as_tensor(places - 1, device=embeds.device)
        states = states_at(self.lm, embeds, mask, torch.as_tensor(indices, device=embeds.device), before)
        return {"lm": -token_log_likelihood(self.lm, states, tokens).mean()}

    def _answers(self, windows: IntArray) -> tuple[IntArray, IntArray]:
        """(n,) row and (n,) place in its prompt of each token of a title that stands behind another one."""
        starts, _ = self.prompts.entry_spans(windows)
        real = windows != PAD
        answers = real & (np.cumsum(real, 1) > 1)
        _, lengths = self.prompts.target_ids(windows[answers], eos=False)
        owners = np.nonzero(answers)[0]
        inner = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(owners, lengths), np.repeat(starts[answers], lengths) + inner

    def _prompts(self, histories: IntArray, vectors: Tensor) -> tuple[PromptBatch, Tensor]:
        """Left-padded texts of (B, L) histories and their (B, T, H) input embeddings."""
        prompts = self.prompts.assemble(histories, max_length=self.lm.max_positions)
        soft: Tensor | None = None
        behind = prompts.item_indices
        if self.item_projector is not None and len(behind):
            distinct, back = np.unique(behind, return_inverse=True)  # each item is projected once
            soft = self.item_projector(vectors[torch.as_tensor(distinct)])[torch.as_tensor(back)]
        if self.user_projector is not None and len(behind):
            padded = torch.as_tensor(histories)
            users = self._users(sequence.prefix_queries(padded, sequence.shifted(padded, padded)[1]))
            assert users is not None
            soft = users if soft is None else soft + users
        if soft is not None:
            soft = functional.dropout(soft, self.config.dropout, self.training)
        return prompts, embed_prompts(self.lm, prompts, items=soft)

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(B, C) log-likelihood of each candidate's title (see :class:`interlingua.contracts.scorer.Scorer`).

        Raises:
            ConfigError: ``items`` is None.
        """
        candidates = given(items, "title-sequence")
        self.eval()
        self._place()
        config: TitleSequenceConfig = self.config
        vectors = self.vectors_for_scoring()
        steps = range(0, len(queries), AT_ONCE)
        histories = queries.padded(config.history_length)
        found = [self._likelihoods(histories[a : a + AT_ONCE], candidates[a : a + AT_ONCE], vectors) for a in steps]
        scores = np.concatenate(found) if found else np.zeros(candidates.shape, np.float32)
        if config.prior_weight > 0:
            scores = scores - np.float32(config.prior_weight) * self._prior(vectors)[candidates]
        return scores

    def _likelihoods(self, histories: IntArray, items: IntArray, vectors: Tensor) -> FloatArray:
        """(B, C) of (B, C) candidates after (B, L) histories."""
        prompts, embeds = self._prompts(histories, vectors)
        mask = torch.as_tensor(prompts.attention_mask, device=embeds.device)
        ids, lengths = self.prompts.target_ids(items.ravel(), eos=False)
        ids, lengths = ids.reshape(*items.shape, -1), lengths.reshape(items.shape)
        out: FloatArray = title_log_likelihood(
            self.lm, embeds, mask, ids, lengths, normalize=self.config.length_normalisation
        ).numpy()
        return out

    def _prior(self, vectors: Tensor) -> FloatArray:
        """(I,) log-likelihood of every title after no history."""
        if self._priors is None:
            nothing = np.full((1, self.config.history_length), PAD, np.int64)
            self._priors = self._likelihoods(nothing, np.arange(self.num_items)[None], vectors)[0]
        return self._priors
