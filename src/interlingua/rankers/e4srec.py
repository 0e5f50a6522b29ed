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
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch, FloatArray
from interlingua.contracts.ranker import RankerInputs
from interlingua.contracts.scorer import Towers
from interlingua.contracts.slots import Slot
from interlingua.data.queries import PAD, IntArray, Queries
from interlingua.injection.id_vectors import IdVectors
from interlingua.injection.loading import state_width
from interlingua.injection.projector import Projector
from interlingua.injection.remembered import Remembered
from interlingua.lm import packed
from interlingua.lm.adapters import LoraOptions
from interlingua.lm.prompt import compile_template, embed_prompts
from interlingua.lm.template import FOLDER
from interlingua.progress import track
from interlingua.rankers._tuned_ranker import TunedOptions, TunedRanker
from interlingua.training.batches import last_position_batches

AT_ONCE = 16
"""queries per forward pass of the language model when scoring"""


class E4srecConfig(TunedOptions):
    """Options of :class:`E4srec`."""

    named_templates = {"template": FOLDER}

    lora: LoraOptions = LoraOptions(rank=16, alpha=16, dropout=0.05, modules=["gate_proj", "up_proj", "down_proj"])
    """adapters on the layers' perceptrons (paper: rank 16, alpha 16, dropout .05)"""
    template: str = "e4srec"
    """the words around the vectors: a template's name or path"""
    history_length: int = Field(default=50, ge=1)
    """last events in the prompt (paper: 50)"""
    head: Literal["full", "tied"] = "full"
    """``full``: a row of its own for every item (paper); ``tied``: the items' projected vectors (ours)"""
    fit: FitConfig = FitConfig(learning_rate=3e-4, batch_size=16, epochs=3, warmup_steps=100, schedule="cosine")
    """training (paper: as here, with AdamW)"""


class E4srec(TunedRanker):
    """Vectors of a history in, scores of all items out."""

    Config = E4srecConfig
    version = 1
    ranks_catalogue = True
    validation = "ranking"
    words = False

    def __init__(self, config: E4srecConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        self.prompts = compile_template(
            config.template, self.lm, inputs.titles, inputs.domain, slots={"item": Slot("item")}
        )
        self.ids = IdVectors(inputs)
        self.item_projector = Projector(self.ids.item_dim, self.lm.hidden_size, nn.Identity(), "linear")
        width, self.learned = state_width(self.lm), self.num_items - inputs.added
        outputs = self.learned if config.head == "full" else self.lm.hidden_size
        self.head = nn.Linear(width, outputs, bias=False)
        self._known, self._outputs = Remembered(), torch.zeros(0, 0)

    def _forget(self) -> None:
        """What was made with other weights."""
        self._known.forget()
        self._outputs = torch.zeros(0, 0)

    def train(self, mode: bool = True) -> E4srec:
        """Training makes remembered states and outputs stale."""
        if mode:
            self._forget()
        super().train(mode)
        return self

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Other weights make remembered states and outputs stale."""
        self._forget()
        return super().load_state_dict(*args, **kwargs)

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Every event once, after those before it."""
        config: E4srecConfig = self.config
        train = self.inputs.train
        yield from last_position_batches(
            train, config.history_length, config.fit.batch_size, generator, stops=np.arange(len(train))
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss ``next``."""
        assert batch.histories is not None
        self._place()
        states = self._states(batch.histories.cpu().numpy()[:, -self.config.history_length :])
        return {"next": functional.cross_entropy(self._queries(states) @ self._item_outputs().T, batch.positives)}

    def _states(self, histories: IntArray) -> Tensor:
        """(B, H') states behind the prompts of (B, L) histories, padded with PAD."""
        prompts = self.prompts.assemble(histories, max_length=self.lm.max_positions)
        distinct, back = np.unique(prompts.item_indices, return_inverse=True)  # each item is projected once
        items = self.item_projector(self.ids.items[torch.as_tensor(distinct)])[torch.as_tensor(back)]
        embeds = embed_prompts(self.lm, prompts, items=items)
        mask = torch.as_tensor(prompts.attention_mask, device=embeds.device)
        return packed.prompt_states(self.lm, embeds, mask).float()

    def _queries(self, states: Tensor) -> Tensor:
        """(B, H') states -> what meets those of :meth:`_item_outputs`."""
        return states if self.config.head == "full" else self.head(states) / self.lm.hidden_size**0.5

    def _item_outputs(self) -> Tensor:
        """(I - n, H') rows of the matrix, or (I, H) the items' projected vectors."""
        return self.head.weight if self.config.head == "full" else self.item_projector(self.ids.items)

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, W) what the items' outputs are multiplied with; a history is read once for a set of weights."""
        self.eval()
        self._place()
        if not len(queries):
            return self.all_item_embeddings()[:0]
        histories = queries.padded(self.config.history_length)
        return self._known.of([row.tobytes() for row in histories], lambda indices: self._read(histories[indices]))

    def _read(self, histories: IntArray) -> Tensor:
        """(B, W) of (B, L) histories; those of similar length run together."""
        order = np.argsort((histories != PAD).sum(1), kind="stable")
        parts = [order[at : at + AT_ONCE] for at in range(0, len(order), AT_ONCE)]
        made = torch.cat([self._queries(self._states(histories[part])) for part in track(parts, "histories")])
        return made[torch.as_tensor(np.argsort(order), device=made.device)]

    @torch.no_grad()
    def all_item_embeddings(self) -> Tensor:
        """(I, W) the items' outputs, made once for a set of weights; those that came later than the matrix: its mean.

        The matrix itself where none came later: who changes it in place copies it first.
        """
        if len(self._outputs) != self.num_items or self._outputs.device != self.device:
            outputs = self._item_outputs().detach()
            later = outputs.mean(0, keepdim=True).expand(self.num_items - len(outputs), -1)
            self._outputs = torch.cat([outputs, later]) if len(later) else outputs
        return self._outputs

    def towers(self) -> Towers:
        """States and outputs: an index can search them."""
        return Towers(self.user_embeddings, self.all_item_embeddings())

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Scores of the catalogue, or of candidates (see :class:`interlingua.contracts.scorer.Scorer`)."""
        users, outputs = self.user_embeddings(queries), self.all_item_embeddings()
        if items is None:
            return (users @ outputs.T).cpu().numpy()
        candidates = torch.as_tensor(np.asarray(items, np.int64), device=outputs.device)
        parts = zip(users.split(AT_ONCE), candidates.split(AT_ONCE), strict=True)
        found = [torch.einsum("bw,bcw->bc", part, outputs[indices]) for part, indices in parts]
        return torch.cat(found).cpu().numpy()
