"""RecICL: a language model learns to answer Yes or No from a user's own earlier events, which stand in the prompt.

Ju et al., "Real-Time Personalization for LLM-based Recommendation with Customized In-Context Learning", arXiv
2410.23136; settings from the authors' code, ym689/rec_icl. A prompt has blocks: each of the user's last k labelled
events is a question with its answer, and the item in question comes last, without one. The loss is the cross-entropy of
the logit of Yes with the last block's label alone; the same logit scores. What the user did since training is read, not
learned: it stands in the last block's history, and in the examples of whoever is asked by a history alone.

Shape key: B pairs, Q queries, T tokens, H input width, N events of a user, k demonstrations.

**Deviations:**
- LoRA by default; ``tune = "full"`` trains the whole model (paper, Qwen1.5-0.5B).
- Text alone: the variant with BinLLM's codes, a hash module for each block, is not here.
- Demonstrations are a user's last events of the training part. Who has none there, is asked by a history, or has newer
  events (then the whole history is given, and no user) has the history's last items as demonstrations, each with a Yes:
  a history holds what was liked alone, so a known user's dislikes are not shown beside newer events.
- Data without labels: an event is a Yes, and an item drawn behind it a No, which is another task. Both are asked after
  what is before the pair; items are drawn behind those of a history too.
- Titles are in our own words.
- A prompt that is longer than the model reads loses its oldest demonstrations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from torch import Tensor

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch, FloatArray
from interlingua.contracts.ranker import RankerInputs
from interlingua.data.queries import PAD, IntArray, Queries
from interlingua.injection.hard_prompt import padded, tokens
from interlingua.injection.yes_no import answer_logits, binary_loss, pair_scores, yes_no
from interlingua.lm import packed
from interlingua.lm.adapters import LoraOptions
from interlingua.lm.shared_prefix import grouped_states
from interlingua.lm.template import FOLDER, Template
from interlingua.rankers._given import given
from interlingua.rankers._tuned_ranker import TunedOptions, TunedRanker
from interlingua.training.opinions import history_with_drawn, opinion_batches, questions, with_drawn

ANSWERS = ("No", "Yes")
SPARE = 2
"""positions for tokens that stand before every text"""


class RecIclConfig(TunedOptions):
    """Options of :class:`RecIcl`."""

    named_templates = {"template": FOLDER}

    template: str = "rec-icl"
    """one block: a template's name or path, with slots ``{history}`` and ``{target}``; its ``system`` line opens it"""
    demonstrations: int = Field(default=4, ge=0)
    """k, earlier events of the user in the prompt, with their labels (paper: 4); 0: TALLRec's question"""
    demonstration_labels: Literal["true", "shuffled"] = "true"
    """control: scores are read behind demonstrations with labels of random training events; training is as it was"""
    history_length: int = Field(default=10, ge=1)
    """last liked items in each block"""
    window: int = Field(default=30, ge=1)
    """last labelled events of a user that demonstrations and their histories are taken from"""
    max_title_words: int | None = Field(default=None, ge=1)
    """longer titles are cut"""
    lora: LoraOptions = LoraOptions(rank=8, alpha=16, dropout=0.05)
    """adapters (authors' code, where they are used: rank 8, alpha 16, dropout .05, queries and values)"""
    fit: FitConfig = FitConfig(learning_rate=1e-4, weight_decay=0.01, batch_size=2, steps_per_epoch=500, metric="auc")
    """training (authors: AdamW, 5e-5 to 5e-6, warm-up of 200 steps, cosine, decay .01, batches of 2)"""

    @model_validator(mode="after")
    def _something_to_learn(self) -> RecIclConfig:
        if self.tune == "none":
            raise ValueError("tune = 'none' leaves rec-icl nothing to train: choose 'lora' or 'full'")
        return self


@dataclass(frozen=True)
class Block:
    """One question of a prompt."""

    history: IntArray
    """(n,) items liked before, oldest first"""
    item: int
    label: bool | None
    """None: the question that is to be answered"""


def demonstrations(items: IntArray, labels: npt.NDArray[np.bool_], count: int, length: int) -> list[Block]:
    """The last ``count`` of a user's events as blocks, oldest first, each with what was liked before it alone.

    Args:
        items: (N,) the user's events, oldest first; all older than the question.
        labels: (N,) whether each was liked.
        count: k at most.
        length: liked items of a block's history at most, the last ones.
    """
    first = max(0, len(items) - count)
    return [
        Block(items[:at][labels[:at]][-length:], int(items[at]), bool(labels[at])) for at in range(first, len(items))
    ]


class RecIcl(TunedRanker):
    """A user's earlier questions with their answers in, Yes or No to the last one out."""

    Config = RecIclConfig
    version = 2
    ranks_catalogue = False
    validation = "pairs"

    def __init__(self, config: RecIclConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        self.answers = yes_no(self.lm)
        self.template = Template.load(config.template)
        self._drawn = inputs.train.labelled is None
        self.events = with_drawn(inputs.train) if inputs.train.labelled is None else inputs.train.labelled
        self._chosen = questions(self.events, self._drawn) if len(self.events) else np.zeros(0, np.int64)
        self._titles = [" ".join(title.split()[: config.max_title_words]) or "untitled" for title in inputs.titles]

    @classmethod
    def needs(cls, config: RecIclConfig) -> frozenset[str]:
        """Needs a retriever, and a split by which training is older than what is asked."""
        return frozenset({"scores", "order"})

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Labelled events with those before them, each once."""
        config: RecIclConfig = self.config
        size = config.fit.batch_size
        return opinion_batches(self.events, self._chosen, config.window, size, generator, drawn=self._drawn)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss ``yes``: cross-entropy of the logit of Yes with the label of the last block."""
        assert batch.histories is not None
        assert batch.history_labels is not None
        assert batch.labels is not None
        self._place()
        config: RecIclConfig = self.config
        prompts = []
        pairs = zip(batch.histories.cpu().numpy(), batch.history_labels.cpu().numpy(), strict=True)
        for (row, said), item in zip(pairs, batch.positives.tolist(), strict=True):
            items, labels = row[row != PAD], said[row != PAD] > 0
            shown = demonstrations(items, labels, config.demonstrations, config.history_length)
            prompts.append([*shown, Block(items[labels][-config.history_length :], item, None)])
        embeds, mask = self.embedded(prompts)
        if not embeds.requires_grad:
            embeds.requires_grad_(True)  # so that prompts are packed: adapters learn, whatever they read
        states = packed.prompt_states(self.lm, embeds, mask)
        return {"yes": binary_loss(answer_logits(self.lm, states, self.answers)[:, 0], batch.labels)}

    def shown(self, user: int, history: IntArray) -> list[Block]:
        """The demonstrations of a query.

        Args:
            user: the last labelled events of this training user serve; -1, or one without any: those of ``history``.
            history: (n,) items that the query's user liked, oldest first.
        """
        config: RecIclConfig = self.config
        assert self.events.labels is not None
        known = 0 <= user < self.events.num_users
        own = slice(int(self.events.offsets[user]), int(self.events.offsets[user + 1])) if known else slice(0)
        items: IntArray = self.events.items[own][-config.window :]
        labels = self.events.labels[own][-config.window :]
        seed: int | list[int] = user
        if not len(items):
            items, labels, seed = history, np.ones(len(history), bool), history.tolist()
            if self._drawn:
                items, labels = history_with_drawn(history, self.num_items - self.inputs.added)
            items, labels = items[-config.window :], labels[-config.window :]
        found = demonstrations(items, labels, config.demonstrations, config.history_length)
        if config.demonstration_labels == "true" or not found or not len(self.events):
            return found
        drawn = np.random.default_rng(seed).choice(self.events.labels, len(found))
        return [Block(block.history, block.item, bool(label)) for block, label in zip(found, drawn, strict=True)]

    def text(self, blocks: Sequence[Block]) -> str:
        """A prompt: the opening line, blocks with their answers, and the one without."""
        parts = [self.template.system(self.inputs.domain)]
        for number, block in enumerate(blocks, 1):
            lists = {
                "history": [{"title": self._titles[item]} for item in block.history.tolist()],
                "target": [{"title": self._titles[block.item]}],
            }
            body = self.template.render(self.inputs.domain, lists).strip()
            answer = "" if block.label is None else f" {ANSWERS[block.label]}"
            parts.append(f"#Example {number}\n{body}{answer}")
        return "\n\n".join(parts)

    def _fitting(self, blocks: Sequence[Block]) -> str:
        """The prompt without the oldest demonstrations that the model has no room for."""
        most = self.lm.max_positions - SPARE
        texts = (self.text(blocks[first:]) for first in range(len(blocks)))
        last = ""
        for last in texts:  # no token is shorter than a byte
            if len(last.encode()) <= most or len(self.lm.tokenize(last)) <= most:
                break
        return last

    def embedded(self, prompts: Sequence[Sequence[Block]]) -> tuple[Tensor, Tensor]:
        """(B, T, H) prompts and their (B, T) mask."""
        texts = [self._fitting(blocks) for blocks in prompts]
        found, mask = padded(tokens(self.lm, texts), self.lm.pad_token_id)
        embeds = self.lm.embed(found)
        return embeds, mask.to(embeds.device)

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(Q, C) the logit of Yes for each candidate; what a query's prompts have in common is read once.

        Raises:
            ConfigError: ``items`` is None.
        """
        candidates = given(items, "rec-icl")
        self.eval()
        self._place()
        return pair_scores(queries, candidates, self._yes)

    def _yes(self, queries: Queries, owners: IntArray, items: IntArray) -> Tensor:
        """(B,) logits of Yes."""
        length = self.config.history_length
        before = [self.shown(int(user), queries.history(row)) for row, user in enumerate(queries.users)]
        prompts = [
            [*before[owner], Block(queries.history(owner)[-length:], int(item), None)]
            for owner, item in zip(np.asarray(owners).tolist(), np.asarray(items).tolist(), strict=True)
        ]
        embeds, mask = self.embedded(prompts)
        return answer_logits(self.lm, grouped_states(self.lm, embeds, mask, owners), self.answers)[:, 0]
