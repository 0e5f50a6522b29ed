"""E4SRec: a language model with adapters reads a history as item vectors, and a head scores every item.

Li et al., "E4SRec: An Elegant Effective Efficient Extensible Solution of Large Language Models for Sequential
Recommendation", arXiv 2312.02443; the form is that of the authors' code. The prompt is an instruction, one projected
vector per event (``x_i = P e_i + b`` of the backbone's frozen item vector e_i, no titles) and a cue; the last state h
goes through a fresh matrix: ``scores = W h`` over all items, without a bias. The loss is their cross-entropy. Every
event is an answer once, after those before it; a user's first one after an empty history. Projector, W and LoRA learn.

Shape key: B rows, L history, I items, n items that came later, D item vectors, H input width, H' width of a state.

**Deviations:**
- ``head = "tied"`` is ours: ``scores = (Q h) . x_i / sqrt(H)`` with the projected vectors of the items themselves. An
  item without an event then has its text's vector where the aligner makes one; the matrix W has no row for it, or one
  that only learned to be low. Without W there are no I x H' numbers to store.
- Histories are cut to their last 50 events at test too (the authors: not). Item vectors are centred and scaled; one
  that the backbone has not learned, and no text makes, is zero.
- Adam instead of AdamW. With ``head = "full"`` items that came after training score like an average item.
- ``sequence-head`` is another method: no words, every position of one pass is an answer, two projectors.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import Field
from torch import Tensor

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch
from interlingua.contracts.ranker import RankerInputs
from interlingua.contracts.slots import Slot
from interlingua.data.queries import Queries
from interlingua.lm.adapters import LoraOptions
from interlingua.lm.prompt import compile_template
from interlingua.lm.template import FOLDER
from interlingua.rankers._item_head_ranker import ItemHeadOptions, ItemHeadRanker
from interlingua.training.batches import last_position_batches


class E4srecConfig(ItemHeadOptions):
    """Options of :class:`E4srec`."""

    named_templates = {"template": FOLDER}

    lora: LoraOptions = LoraOptions(rank=16, alpha=16, dropout=0.05, modules=["gate_proj", "up_proj", "down_proj"])
    """adapters on the layers' perceptrons (paper: rank 16, alpha 16, dropout .05)"""
    template: str = "e4srec"
    """the words around the vectors: a template's name or path"""
    history_length: int = Field(default=50, ge=1)
    """last events in the prompt (paper: 50)"""
    fit: FitConfig = FitConfig(learning_rate=3e-4, batch_size=16, epochs=3, warmup_steps=100, schedule="cosine")
    """training (paper: as here, with AdamW)"""


class E4srec(ItemHeadRanker):
    """Vectors of a history in, scores of all items out."""

    Config = E4srecConfig
    version = 1

    def __init__(self, config: E4srecConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        self.prompts = compile_template(
            config.template, self.lm, inputs.titles, inputs.domain, slots={"item": Slot("item")}
        )

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Every event once, after those before it."""
        config: E4srecConfig = self.config
        train = self.inputs.train
        yield from last_position_batches(
            train, config.history_length, config.fit.batch_size, generator, stops=np.arange(len(train))
        )

    def states(self, queries: Queries) -> Tensor:
        """See :class:`ItemHeadRanker`: states at the last words of the cue."""
        prompts = self.prompts.assemble(queries.padded(self.config.history_length), max_length=self.lm.max_positions)
        return self.read(prompts)
