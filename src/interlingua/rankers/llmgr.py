"""LLMGR, a RECONSTRUCTION: a language model reads a session's graph, nodes as vectors and titles, and its edges.

After Guo et al., "Integrating Large Language Models with Graphical Session-Based Recommendation", arXiv 2402.16539, of
which we had summaries only, neither prompts nor constants nor code: node ids go through a frozen 64-wide vector of a
session graph network and one map W_p into the prompt; two stages of tuning, first which text belongs to which node,
then the session's graph and the next item. Read nothing here as the paper's numbers.

What is ours: the wording; the vectors are the backbone's item vectors (take ``sr-gnn`` or ``gcsan``), centred and
scaled; stage 1 trains W_p alone with the loss ``title``, the mean over the batch's title tokens of -log p(token | what
is before it, the vector), every item with a vector once an epoch; stage 2 adds LoRA (rank 8, queries and values) and a
head over all items, with the cross-entropy ``next``, and trains W_p on. Every event but a user's first is a target.

Shape key: B rows, L history, I items, T tokens, H input width, H' width of a state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import RankerInputs
from interlingua.contracts.slots import Slot
from interlingua.data.queries import Queries
from interlingua.injection.graph_prompts import GraphPrompts, graph_slots
from interlingua.lm.adapters import LoraOptions
from interlingua.lm.likelihood import target_log_likelihood
from interlingua.lm.prompt import compile_template
from interlingua.lm.template import FOLDER
from interlingua.rankers._item_head_ranker import ItemHeadOptions, ItemHeadRanker
from interlingua.training.batches import as_tensor, last_position_batches

NODES = "nodes"
"""name of the phase that :meth:`Llmgr.fit` begins with"""


class LlmgrConfig(ItemHeadOptions):
    """Options of :class:`Llmgr`."""

    named_templates = {"template": FOLDER, "node_template": FOLDER}
    only_with = {
        **ItemHeadOptions.only_with,
        **dict.fromkeys(("first_epochs", "first_learning_rate", "node_template"), ("stages", ("two",))),
    }  # fmt: skip

    lora: LoraOptions = LoraOptions(rank=8, alpha=16, dropout=0.05)
    """adapters of stage 2 (ours: rank 8, queries and values)"""
    template: str = "llmgr"
    """the question: a template's name or path, see :mod:`interlingua.injection.graph_prompts`"""
    node_template: str = "llmgr-node"
    """stage 1: the vector in ``{history}``, the title as ``target``"""
    history_length: int = Field(default=10, ge=1)
    """last events that make the graph (ours)"""
    max_title_tokens: int | None = Field(default=None, ge=1)
    """longer titles are cut"""
    edges: bool = True
    """tell the edges; False is the control without a graph in words"""
    item_vectors: Literal["align", "random"] = "align"
    """vectors of backbone or aligner, or random ones (control)"""
    stages: Literal["two", "one"] = "two"
    """``two``: node and text first (paper); ``one``: the question alone (the paper's ablation)"""
    first_epochs: int = Field(default=2, ge=1)
    """epochs of stage 1, each of all items (ours)"""
    first_learning_rate: float = Field(default=1e-3, gt=0)
    """Adam's step size in stage 1 (ours)"""
    fit: FitConfig = FitConfig(learning_rate=3e-4, batch_size=16, epochs=3, warmup_steps=100, schedule="cosine")
    """training of stage 2, and of stage 1 but for what ``first_`` says (ours)"""

    @property
    def first_fit(self) -> FitConfig:
        """How stage 1 is trained: it predicts no next item, so nothing of it is validated."""
        own = {"epochs": self.first_epochs, "learning_rate": self.first_learning_rate, "patience": None}
        return self.fit.model_copy(update=own)


class Llmgr(ItemHeadRanker):
    """A session's graph in, scores of all items out."""

    Config = LlmgrConfig
    version = 1

    def __init__(self, config: LlmgrConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs, noise=config.item_vectors == "random")
        self.prompts = GraphPrompts(
            config.template, self.lm, inputs.titles, inputs.domain, edges=config.edges,
            max_title_tokens=config.max_title_tokens,
        )  # fmt: skip
        self.node_prompts = compile_template(
            config.node_template, self.lm, inputs.titles, inputs.domain, slots={"item": Slot("item")},
            max_title_tokens=config.max_title_tokens,
        )  # fmt: skip
        with torch.no_grad():
            self.item_projector.scale_to(self.ids.items, self.lm.embedding_norm)

    def slots(self) -> dict[str, Slot]:
        """A session's nodes, edges and latest item."""
        return graph_slots(self.config.edges)

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Every event but a user's first, after those before it."""
        config: LlmgrConfig = self.config
        yield from last_position_batches(
            self.inputs.train, config.history_length, config.fit.batch_size, generator, num_negatives=0,
            all_positions=True,
        )  # fmt: skip

    def node_batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Stage 1: every item that has a vector once, as the ``positives`` of batches without histories."""
        known = (self.ids.items[: self.learned] != 0).any(1).nonzero()[:, 0].cpu().numpy()
        order = generator.permutation(known)
        size = self.config.fit.batch_size
        for start in range(0, len(order), size):
            items = order[start : start + size]
            yield Batch(as_tensor(np.zeros(len(items), np.int64)), as_tensor(items))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss ``next``, or of a batch without histories ``title``."""
        if batch.histories is not None:
            return super().forward(batch)
        self._place()
        items = batch.positives.cpu().numpy()
        prompts = self.node_prompts.assemble(items[:, None], max_length=self.lm.max_positions)
        ids, lengths = self.node_prompts.target_ids(items, eos=False)
        embeds = self.embedded(prompts)
        found = target_log_likelihood(self.lm, embeds, torch.as_tensor(prompts.attention_mask), ids, lengths)
        return {"title": -found.sum() / float(lengths.sum())}

    def states(self, queries: Queries) -> Tensor:
        """See :class:`ItemHeadRanker`: states at the last words of the cue."""
        return self.read(self.prompts.assemble(queries.padded(self.config.history_length)))

    @property
    def earlier_epochs(self) -> int:
        """Those of stage 1."""
        return self.config.first_epochs if self.config.stages == "two" else 0

    def fit(self, job: Fitting) -> FitLog:
        """Both stages; see the module's docstring."""
        if self.config.stages == "one":
            return super().fit(job)
        self._train_all(False)
        try:
            before = job.by_gradient(self.node_batches, self.config.first_fit, earlier=True)
        finally:
            self._train_all(True)
        return super().fit(job).after(NODES, before)

    def _train_all(self, every: bool) -> None:
        """Whether all that learns in stage 2 learns, or the map W_p alone."""
        for parameter in (*self.head.parameters(), *(self.tuned.parameters() if self.tuned is not None else ())):
            parameter.requires_grad_(every)

    def train(self, mode: bool = True) -> Llmgr:
        """Adapters that do not learn have no dropout."""
        super().train(mode)
        if self.tuned is not None and not self._adapters_learn():
            self.tuned.train(False)
        return self

    @classmethod
    def caveats(cls, config: Any) -> list[str]:
        """It is a reconstruction."""
        return ["llmgr is a reconstruction from summaries of LLMGR: its wording and settings are ours, not the paper's"]
