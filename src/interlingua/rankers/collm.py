"""CoLLM: collaborative vectors as words of a question about one item, which a language model answers by Yes or No.

Zhang et al., "CoLLM: Integrating Collaborative Embeddings into Large Language Models for Recommendation", arXiv
2310.19488; the form is that of the authors' code. The question holds the titles that the user liked and the target's.
Stage 1 trains LoRA adapters on it. Stage 2 adds a vector of the user and one of the target, which one perceptron (CIE:
D -> 10 D, ReLU, -> H) makes of the backbone's, and trains this perceptron alone; the adapters stay as they are. With z
the logit of Yes at the answer, the loss is the cross-entropy of sigmoid(z) with the label; No takes no part. z scores.

Shape key: B pairs, T tokens, D ID vectors, H input width.

**Deviations:**
- Labels are those of the data (``[data] label``); other data have events and as many drawn items without an event,
  which is another task.
- Where the validation part's metric falls in stage 2, stage 1 is kept (the authors' stage 2 is known to diverge).
- ID vectors are scaled and the items' are centred; zero for an item that the backbone has not learned (unless its text
  makes a vector) and for a user without a history. Two perceptrons where users and items have other widths.
- One wording (the authors draw among four equal lines). Adam with L2 instead of AdamW, cosine down to zero instead of
  8e-5, warm-up from zero. The perceptron's output starts as long as a token's embedding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from interlingua.config import FitConfig
from interlingua.contracts.ranker import RankerInputs
from interlingua.contracts.slots import Slot
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import ConfigError
from interlingua.injection.id_vectors import IdVectors
from interlingua.lm.adapters import LoraOptions
from interlingua.lm.prompt import compile_templates, embed_prompts
from interlingua.rankers._yes_no_ranker import YesNoOptions, YesNoRanker


class CollmConfig(YesNoOptions):
    """Options of :class:`Collm`."""

    template: str = "collm"
    """the question: a template's name or path, with ``{user}`` and ``{item}`` in ``[[...]]``"""
    max_title_tokens: int | None = Field(default=None, ge=1)
    """longer titles are cut"""
    lora: LoraOptions = LoraOptions(rank=8, alpha=16, dropout=0.05)
    """adapters (paper: rank 8, alpha 16, dropout .05, queries and values)"""
    inner_factor: int = Field(default=10, ge=1)
    """inner width of the perceptron, as a multiple of D (paper: 10; 15 for SASRec on books)"""
    fit: FitConfig = FitConfig(
        learning_rate=1e-3, weight_decay=1e-3, batch_size=16, steps_per_epoch=50, epochs=10, warmup_steps=200,
        schedule="cosine", metric="auc",
    )  # fmt: skip
    """training of stage 2, and of stage 1 but for what ``first_`` says (paper: rounds of 50 steps, best AUC)"""

    @property
    def needs(self) -> frozenset[str]:
        """User vectors."""
        return frozenset({"users"})


class Collm(YesNoRanker):
    """A question with two vectors in it."""

    Config = CollmConfig
    version = 1

    def __init__(self, config: CollmConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        if inputs.user_embeddings is None:
            raise ConfigError("the ranker 'collm' shows the backbone's user vectors, and this backbone has none")
        said = {"plain": (), "more": {"user": Slot("query"), "item": Slot("item")}}
        compiled = compile_templates(
            [(config.template, slots) for slots in said.values()], self.lm, inputs.titles, inputs.domain,
            max_title_tokens=config.max_title_tokens,
        )  # fmt: skip
        self.prompts = dict(zip(said, compiled, strict=True))
        self.ids = IdVectors(inputs)
        widths = {"user": self.ids.user_dim, "item": self.ids.item_dim}
        self.item_perceptron = self._perceptron(widths["item"])
        self.user_perceptron = None if widths["user"] == widths["item"] else self._perceptron(widths["user"])

    def _perceptron(self, width: int) -> nn.Sequential:
        inner = width * self.config.inner_factor
        last = nn.Linear(inner, self.lm.hidden_size)
        made = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), last)
        with torch.no_grad():
            lengths = made(torch.randn(256, width)).norm(dim=-1)
            last.weight.mul_(self.lm.embedding_norm / lengths.median())
            last.bias.zero_()
        return made

    def second(self) -> list[Tensor]:
        """The perceptron, or both."""
        both = [part for part in (self.item_perceptron, self.user_perceptron) if part is not None]
        return [parameter for part in both for parameter in part.parameters()]

    def embedded(self, queries: Queries, owners: IntArray, items: IntArray) -> tuple[Tensor, Tensor]:
        """(B, T, H) prompts and (B, T) mask (see :class:`YesNoRanker`)."""
        more = bool(self.says_more)
        prompts = self.prompts["more" if more else "plain"].assemble(
            queries.padded(self.config.history_length)[owners], target=items, max_length=self.lm.max_positions
        )
        vectors: dict[str, Any] = {}
        if more:
            of_users = self.user_perceptron or self.item_perceptron
            vectors["users"] = of_users(self.ids.users(queries))[torch.as_tensor(owners)]
            vectors["items"] = self.item_perceptron(self.ids.items[torch.as_tensor(np.asarray(items, np.int64))])
        return embed_prompts(self.lm, prompts, **vectors), torch.as_tensor(prompts.attention_mask)
