"""LC-Rec: a language model reads and writes items as a few code tokens, and learns what they mean from words.

Zheng et al., "Adapting Large Language Models by Integrating Collaborative Semantics for Recommendation", ICDE 2024,
arXiv 2311.09049, and the authors' code, RUCAIBox/LC-Rec. Every item is K codes (aligner ``rq-vae`` with ``sinkhorn``),
each (level, code) a new token: the input and the output embeddings grow (:mod:`interlingua.lm.added_tokens`). The model
is tuned on six tasks at once (:mod:`interlingua.injection.code_tasks`): the next item, words and codes of an item in
both directions, histories in one language and the next item in the other, what is looked for, what a user likes. The
loss is the mean cross-entropy of the answers' tokens, among all tokens. Items are ranked by a beam search along the
trie of the catalogue's codes: nothing but an item can come out.

Shape key: B rows, L events, K codes of an item, I items, T prompt tokens, C candidates.

**Deviations:**
- LoRA by default, with the new rows alone of the embeddings; ``tune = "full"`` is the paper's. Adam, not AdamW.
- The search walks the trie. The authors' code allows every code of a level at its place, hence codes of no item.
- No token ends an item's codes: all have K. One wording asks when scoring (the authors average over seventeen).
- Items that a search leaves stand behind those that it finds; given candidates are read whole, so their scores are
  exact whatever the beams.
- ``intention`` and ``preference`` are texts of GPT-3.5 from reviews in the paper, one of each user. Here they are those
  of ``profiles``, else categories (a RECONSTRUCTION): what the next item is, and what most of the history is.
- Words around the codes are ours, fewer than the authors', and know the domain (movie, watched).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch, FloatArray
from interlingua.contracts.ranker import RankerInputs
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import ConfigError
from interlingua.injection.code_tasks import WORDINGS, CodeTasks, Task
from interlingua.injection.hard_prompt import padded
from interlingua.lm.adapters import LoraOptions
from interlingua.lm.added_tokens import AddedTokens, Grown
from interlingua.lm.code_search import answer_scores, code_scores
from interlingua.lm.code_trie import levels_of
from interlingua.lm.likelihood import target_log_likelihood
from interlingua.progress import say, track
from interlingua.rankers._tuned_ranker import TunedOptions, TunedRanker
from interlingua.training.batches import require_histories
from interlingua.training.task_batches import (
    Part,
    Samples,
    event_samples,
    item_samples,
    last_samples,
    task_batches,
    user_samples,
)

AT_ONCE = 160
"""rows that a search continues at once"""
TASKS: tuple[Task, ...] = ("next", "words-to-codes", "codes-to-words", "mixed", "intention", "preference")


class LcRecConfig(TunedOptions):
    """Options of :class:`LcRec`."""

    files = ("profiles",)
    begins_with = ("profiles",)

    tasks: list[Task] = list(TASKS)
    """what is trained (paper: all six); ``next`` must be among them"""
    mix: Literal["all", "even"] = "all"
    """``all``: every row of every task once an epoch (paper); ``even``: equally many rows of each task"""
    profiles: str | None = None
    """folder of a profile set (``interlingua profiles``), for ``intention`` (of the item) and ``preference`` (of the
    user); None: categories"""
    history_length: int = Field(default=20, ge=1)
    """L (authors' code: 20)"""
    max_title_tokens: int | None = Field(default=None, ge=1)
    """longer titles are cut"""
    max_text_tokens: int = Field(default=48, ge=1)
    """longer descriptions, wishes and likes are cut (paper: never)"""
    beams: int | None = Field(default=20, ge=1)
    """codes that a search of the catalogue continues on each level (paper: 20); None: every item is read"""
    lora: LoraOptions = LoraOptions(rank=8, alpha=32, dropout=0.05, modules="all")
    """adapters (the authors' code for LoRA: rank 8, alpha 32, dropout .05, all linear layers)"""
    fit: FitConfig = FitConfig(learning_rate=5e-4, batch_size=16, epochs=4, schedule="cosine")
    """training (paper: AdamW 5e-5, decay .01, batches of 128, 4 epochs, cosine after a warm-up of 1 % of the steps)"""

    @model_validator(mode="after")
    def _what_is_asked_is_trained(self) -> LcRecConfig:
        if "next" not in self.tasks:
            raise ValueError(f"tasks = {self.tasks} leaves out 'next', by which items are ranked: add it")
        return self


class LcRec(TunedRanker):
    """Codes of a history in, codes of the next item out."""

    Config = LcRecConfig
    version = 1
    ranks_catalogue = True
    validation = "ranking"

    codes: Tensor

    def __init__(self, config: LcRecConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        if inputs.item_codes is None:
            raise ConfigError("the ranker 'lc-rec' reads and writes codes of items: choose the aligner rq-vae")
        codes = inputs.item_codes.long()
        self.learned = len(codes) - inputs.added
        sizes = codes[: self.learned].max(0).values + 2  # the last one: codes that no item had in training
        starts = sizes.cumsum(0) - sizes
        self.tokens = AddedTokens(self.lm, int(sizes.sum()))
        self.lm = Grown.of(self.lm, self.tokens)
        written = self.tokens.ids(torch.minimum(codes, sizes - 1) + starts)
        self.register_buffer("codes", written, persistent=False)
        self.levels = levels_of(written)
        self.tasks = CodeTasks(
            self.lm, written.numpy(), inputs, title_tokens=config.max_title_tokens, text_tokens=config.max_text_tokens
        )
        self._parts: list[Part] | None = None

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Codes of items, and no vectors."""
        return frozenset({"item_codes"})

    @classmethod
    def reads_profiles(cls, config: Any) -> str | None:
        """See :class:`Ranker`."""
        folder: str | None = config.profiles
        return folder

    @classmethod
    def caveats(cls, config: Any) -> list[str]:
        """Two tasks are reconstructions without texts of users."""
        own = {"intention", "preference"} & set(config.tasks) if config.profiles is None else set()
        words = " and ".join(sorted(own))
        return [f"lc-rec: {words} made of categories are a reconstruction, the paper's are GPT-3.5's"] if own else []

    @property
    def parts(self) -> list[Part]:
        """The rows of every task, and their wordings; a task that nothing in the data words is left out, and named."""
        if self._parts is None:
            made = [self._part(task) for task in TASKS if task in self.config.tasks]
            found = [(task, part.usable()) for task, part in made]
            gone = [task for task, part in found if not len(part.samples)]
            require_histories("next" not in gone)
            if gone:
                say(f"lc-rec: nothing to ask for {', '.join(gone)}: no event, or no text, category or profile")
            self._parts = [part for _, part in found]
        return self._parts

    def _part(self, task: Task) -> tuple[Task, Part]:
        train, length = self.inputs.train, self.config.history_length
        if task in ("next", "mixed"):
            samples = event_samples(train, length)
        elif task == "intention":
            samples = last_samples(train, length)
        elif task == "preference":
            samples = user_samples(train, length)
        else:
            samples = item_samples(np.arange(self.learned))
        numbers = [number for number, wording in enumerate(WORDINGS) if wording.task == task]
        plain = [number for number in numbers if not WORDINGS[number].needs]
        further = [number for number in numbers if WORDINGS[number].needs]
        needed = frozenset[str]().union(*(WORDINGS[number].needs for number in further))
        able = np.fromiter((self._can(needed, samples, row) for row in range(len(samples))), bool, len(samples))
        return task, Part(samples, np.array(plain, np.int64), np.array(further, np.int64), able)

    def _can(self, needed: frozenset[str], samples: Samples, row: int) -> bool:
        """Whether a row has the words that some wordings need."""
        item, tasks = int(samples.items[row]), self.tasks
        said = {"text": tasks.texts[item], "wish": tasks.wishes[item]}
        if "likes" in needed:
            start, length = int(samples.windows.starts[row]), int(samples.windows.lengths[row])
            said["likes"] = tasks.likes(
                int(samples.windows.users[row]), self.inputs.train.items[start : start + length].tolist()
            )
        return all(said[word] for word in needed)

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Samples of all tasks among each other, each in one of its wordings."""
        config: LcRecConfig = self.config
        return task_batches(self.inputs.train, self.parts, config.fit.batch_size, generator, even=config.mix == "even")

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """A loss for each task, which add up to the mean cross-entropy of the answers' tokens."""
        assert batch.histories is not None
        assert batch.wordings is not None
        self._place()
        numbers, users, items = batch.wordings.tolist(), batch.users.tolist(), batch.positives.tolist()
        questions, answers = [], []
        for number, user, item, history in zip(numbers, users, items, batch.histories.tolist(), strict=True):
            answers.append(self.tasks.answer(number, user, item, history))
            questions.append(self.tasks.question(number, item, history, self.lm.max_positions - len(answers[-1]) - 1))
        embeds, mask = self._embedded(questions)
        ids, real = padded(answers, self.lm.pad_token_id)
        found = target_log_likelihood(self.lm, embeds, mask, ids.numpy(), real.sum(1).numpy())
        count = float(real.sum())
        tasks = [WORDINGS[number].task for number in numbers]
        owners = {task: [row for row, each in enumerate(tasks) if each == task] for task in TASKS if task in tasks}
        return {task: -found[own].sum() / count for task, own in owners.items()}

    def _embedded(self, questions: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """(B, T, H) prompts and their (B, T) mask."""
        ids, mask = padded(questions, self.lm.pad_token_id)
        embeds = self.lm.embed(ids)
        return embeds, mask.to(embeds.device)

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Log-probabilities of items' codes (see :class:`interlingua.contracts.scorer.Scorer`)."""
        self.eval()
        self._place()
        config: LcRecConfig = self.config
        every = None if items is None and config.beams is not None else items
        if items is None and config.beams is None:
            every = np.broadcast_to(np.arange(self.num_items), (len(queries), self.num_items))
        width = self.num_items if every is None else every.shape[1]
        out = np.empty((len(queries), width), np.float32)
        histories = [row.tolist() for row in queries.padded(config.history_length)]
        questions = [self.tasks.question(0, -1, row, self.lm.max_positions - self.codes.shape[1]) for row in histories]
        order = np.argsort([len(question) for question in questions], kind="stable")
        step = max(1, AT_ONCE // (config.beams or AT_ONCE)) if every is None else 16
        for part in track([order[at : at + step] for at in range(0, len(order), step)], "histories"):
            embeds, mask = self._embedded([questions[row] for row in part.tolist()])
            if every is None:
                out[part] = code_scores(self.lm, embeds, mask, self.levels, config.beams or 1).cpu().numpy()
            else:
                out[part] = answer_scores(self.lm, embeds, mask, self.codes.cpu().numpy()[every[part]])
        return out
