"""A-LLMRec's stage 2: a frozen language model reads a user and items as soft tokens and names the next item.

Two projectors turn user and item vectors into input embeddings; only they learn (Kim et al., KDD 2024, arXiv
2404.11343, section 3.3). The prompt holds titles with vectors, the loss is the likelihood of the answer's title, and
candidates are ranked by the likelihood of theirs. A head over the items may stand beside it (ours), and one prompt may
have several answers (ours, ``answers_per_prompt``): it is read once for all, see :mod:`interlingua.lm.several_answers`.

Shape key: B rows, L history, C candidates, I items, D item vectors, U user vectors, H input width, T prompt tokens, M
answers.

**Deviations:**
- Candidates are drawn from the items without a training event of the user (the authors: not in the input sequence).
- A model that puts a begin token first has it before the user vector (the authors: after it).
- Item vectors are standardised by one mean and one scale (``standardised = false``: as they are).
- Scoring by free generation is ``paper``, or ``free`` by the exact rule; the other ways are exact rankings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from interlingua.contracts.batch import Batch, FloatArray
from interlingua.contracts.ranker import RankerInputs
from interlingua.contracts.slots import Slot
from interlingua.data.queries import PAD, IntArray, Queries
from interlingua.errors import ConfigError
from interlingua.injection import title_scoring as titles
from interlingua.lm import history as sequence
from interlingua.lm import likelihood, packed, padding
from interlingua.lm.models import LanguageModel
from interlingua.lm.prompt import PromptBatch, embed_prompts
from interlingua.lm.several_answers import answers_log_likelihood
from interlingua.lm.template import FOLDER, Template
from interlingua.rankers._vector_options import VectorRankerConfig
from interlingua.rankers._vector_ranker import AT_ONCE, VectorRanker
from interlingua.training.answer_batches import answer_batches
from interlingua.training.batches import Negatives, last_position_batches


class SoftPromptConfig(VectorRankerConfig):
    """Options of :class:`SoftPrompt`."""

    named_templates = {"template": FOLDER}

    template: str = "next-item"
    """a template's name or path"""
    num_candidates: int = Field(default=20, ge=2)
    """candidates in a training prompt, the answer included (paper: 20)"""
    scoring: Literal["likelihood", "generate", "head", "free", "paper"] = "likelihood"
    """how candidates are ranked; ``free``: 1 for the title that is written freely, ``paper``: by the authors' rule"""
    beams: int = Field(default=1, ge=1)
    """``generate``: hypotheses kept, and candidates that come out (1: greedy, Hit@1 only)"""
    length_normalisation: bool = False
    """likelihood: divide by the number of answer tokens"""
    all_positions: bool = False
    """every training event is an answer once, not only the user's last (A-LLMRec_all)"""
    answers_per_prompt: int = Field(default=1, ge=1)
    """training: so many of the user's next items stand among a prompt's candidates, each an answer of its own (ours;
    paper: 1). A prompt is read once for all of its answers, which makes an answer cheaper"""
    lm_weight: float = Field(default=1.0, ge=0)
    """weight of the answer's title loss"""
    max_title_tokens: int | None = Field(default=None, ge=1)
    """longer titles are cut in prompts and answers"""
    lm_weights: Literal["pretrained", "shuffled"] = "pretrained"
    """control: ``shuffled`` weights; without a language model: the scorer ``sequence-head``"""


def check(config: SoftPromptConfig) -> None:
    """Raises one :class:`ConfigError` that lists every setting that cannot work together."""
    problems = []
    if config.scoring == "head" and not config.has_head:
        problems.append("ranker.scoring = 'head' needs ranker.head_weight > 0, else the head is never trained")
    if config.scoring == "head" and config.slots.item == "none":
        problems.append("ranker.scoring = 'head' compares item vectors; slots.item cannot be 'none'")
    if config.answers_per_prompt >= config.num_candidates:
        problems.append(
            f"ranker.answers_per_prompt = {config.answers_per_prompt} leaves no wrong candidate among "
            f"ranker.num_candidates = {config.num_candidates}; set it lower"
        )
    if config.lm_weight <= 0 and config.head_weight <= 0:
        problems.append("ranker.lm_weight and ranker.head_weight are both 0: nothing to train")
    if problems:
        raise ConfigError("\n".join(problems))


class SoftPrompt(VectorRanker):
    """A prompt of words and vectors, answered by a title."""

    Config = SoftPromptConfig
    version = 2
    lm: LanguageModel

    def __init__(self, config: SoftPromptConfig, inputs: RankerInputs) -> None:
        check(config)
        super().__init__(config, inputs)
        self.ranks_catalogue = config.scoring == "head"  # at once: no other method need retrieve candidates first
        self.prompts = titles.compiled(config, self.lm, inputs, self.slots())
        self._negatives: Negatives | None = None

    @classmethod
    def needs(cls, config: SoftPromptConfig) -> frozenset[str]:
        """Also needs codes of items, if the template prints them."""
        text = Template.load(config.template, more=("codes",))
        printed = any("{codes}" in part for part in (text.body, *text.head.values()))
        return super().needs(config) | (frozenset({"item_codes"}) if printed else frozenset())

    def slots(self) -> dict[str, Slot]:
        """``{user}`` and ``{item}`` as the options say, and ``{codes}`` where the aligner makes some."""
        config: SoftPromptConfig = self.config
        found = {"user": Slot("query")} if config.slots.user != "none" else {}
        found |= {"item": Slot("item")} if config.slots.item != "none" else {}
        if self.inputs.item_codes is not None:
            found["codes"] = Slot("item", titles.code_texts(self.inputs.item_codes))
        return found

    def slot_vectors(self, prompts: PromptBatch, queries: Queries) -> Mapping[str, Tensor]:
        """(S, H) vectors of each further slot that a subclass names in :meth:`slots`."""
        return {}

    @classmethod
    def caveats(cls, config: SoftPromptConfig) -> list[str]:
        """Notes on scoring by generated text."""
        return titles.written_caveats(config.scoring)

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Prompts with one answer or several, and their negatives."""
        config: SoftPromptConfig = self.config
        train, batch_size = self.inputs.train, config.fit.batch_size
        self._negatives = self._negatives or Negatives(train)
        if config.answers_per_prompt > 1:
            return answer_batches(
                train, max(config.history_length, sequence.USER_HISTORY), batch_size, generator,
                negatives=self._negatives, num_candidates=config.num_candidates, answers=config.answers_per_prompt,
                all_positions=config.all_positions,
            )  # fmt: skip
        return last_position_batches(
            train, max(config.history_length, sequence.USER_HISTORY), batch_size, generator,
            negatives=self._negatives, num_negatives=config.num_candidates - 1, all_positions=config.all_positions,
        )  # fmt: skip

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses: ``lm`` (title of the answer), ``head`` and ``distill``."""
        assert batch.histories is not None
        self._place()
        config: SoftPromptConfig = self.config
        vectors = self.vectors.dropped(config.cold_dropout)
        past, targets = batch.histories.cpu().numpy(), batch.positives
        candidates = None
        if "candidates" in self.prompts.needs:
            assert batch.negatives is not None
            candidates = sequence.shuffled(targets, batch.negatives)
        queries = sequence.queries_of(past, batch.users.cpu().numpy())
        prompts, embeds = self._prompts(past[:, -config.history_length :], candidates, queries, vectors)
        mask = torch.as_tensor(prompts.attention_mask, device=embeds.device)
        out: dict[str, Tensor] = {}
        if config.lm_weight > 0:
            out["lm"] = config.lm_weight * self._title_loss(embeds, mask, targets.cpu().numpy())
        if self.head is not None:
            states, histories = packed.prompt_states(self.lm, embeds, mask), batch.histories
            if targets.dim() == 2:  # a state for each answer
                owners, _ = torch.nonzero(targets != PAD, as_tuple=True)
                states, histories, targets = states[owners], histories[owners], targets[targets != PAD]
            out |= self._head_losses(states, targets, vectors, histories, None)
        return out

    def _title_loss(self, embeds: Tensor, mask: Tensor, targets: IntArray) -> Tensor:
        """() of the titles of (B,) or (B, M) answers.

        The authors average over answer tokens of the whole batch, as the causal language-model loss does.
        """
        ids, lengths = self.prompts.target_ids(np.where(targets == PAD, 0, targets).ravel())
        if targets.ndim == 1:
            found = likelihood.target_log_likelihood(self.lm, embeds, mask, ids, lengths)
        else:
            lengths = np.where(targets == PAD, 0, lengths.reshape(targets.shape))
            found = answers_log_likelihood(self.lm, embeds, mask, ids.reshape(*targets.shape, -1), lengths)
        return -found.sum() / float(lengths.sum())

    def _prompts(
        self, histories: IntArray, candidates: IntArray | None, queries: Queries, vectors: Tensor
    ) -> tuple[PromptBatch, Tensor]:
        """Left-padded prompts and their (B, T, H) input embeddings."""
        prompts = self.prompts.assemble(histories, candidates, max_length=self.lm.max_positions)
        items = None
        if self.item_projector is not None:
            distinct, back = np.unique(prompts.item_indices, return_inverse=True)  # each item is projected once
            items = self.item_projector(vectors[torch.as_tensor(distinct)])[torch.as_tensor(back)]
            items = functional.dropout(items, self.config.dropout, self.training)
        slot_vectors = self.slot_vectors(prompts, queries)
        return prompts, embed_prompts(self.lm, prompts, self._users(queries), items, slot_vectors)

    def states(self, queries: Queries, vectors: Tensor) -> Tensor:
        """(B, H') states after the prompts."""
        prompts, embeds = self._prompts(queries.padded(self.config.history_length), None, queries, vectors)
        return padding.prompt_states(self.lm, embeds, torch.as_tensor(prompts.attention_mask, device=embeds.device))

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Scores of candidates (see :class:`interlingua.contracts.scorer.Scorer`).

        The head scores the whole catalogue at once; the other ways need candidates (:class:`RetrieveThenRerank`
        ranks it fully).

        Raises:
            ConfigError: ``items`` is None and titles are scored.
        """
        self.eval()
        self._place()
        if self.ranks_catalogue:
            return self.catalogue_scores(queries, items)
        if items is None:
            raise ConfigError(
                f"ranker.scoring = {self.config.scoring!r} ranks given candidates only; retrieve some first "
                "(evaluate.retrieve) or use scoring = 'head', which scores the whole catalogue"
            )
        candidates = np.asarray(items, np.int64)
        steps = range(0, len(queries), AT_ONCE)
        return np.concatenate(
            [self._title_scores(queries.slice(a, a + AT_ONCE), candidates[a : a + AT_ONCE]) for a in steps]
        )

    def _title_scores(self, queries: Queries, items: IntArray) -> FloatArray:
        """(B, C) how well each candidate's title answers."""
        shown = titles.presented(items, queries) if "candidates" in self.prompts.needs else None
        histories = queries.padded(self.config.history_length)
        prompts, embeds = self._prompts(histories, shown, queries, self.vectors_for_scoring())
        mask = torch.as_tensor(prompts.attention_mask, device=embeds.device)
        return titles.score_titles(self.lm, self.prompts, embeds, mask, items, self.inputs.titles, self.config)
