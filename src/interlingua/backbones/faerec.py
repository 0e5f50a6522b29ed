"""FAERec: an item of a history is a gated mix of its ID vector and its text, and two losses bring the two together.

arXiv 2604.03688, over SASRec. The gate decides per dimension; the text goes through a small network. Items are scored
by the sum of both views. Alignment item by item (InfoNCE) and dimension by dimension (Barlow Twins, apart for the more
and the less popular half of a batch) take turns by a cosine over the epochs.

Shape key: B rows, L positions, I items, T text width, D width, n distinct items of a batch.

**Deviations:**
- The blocks are SASRec's own (pre-norm, ReLU, inner width D), where the authors take BERT's (post-norm, GELU, 4 D).
- The authors' binary cross-entropy compares states with ID vectors alone, while their lists come from the sum of both
  views: ``trained_scores = "ids"``. By default training and lists have the same scores.
- ID vectors of items without training events stay where they start; the authors train them as negatives.
- An item that occurs several times in a batch goes through the text network once: its copies have one dropout mask.
  Both losses weigh it by its copies, which is equal to the loss with all copies written out.
- The weight beside the diagonal is the code's (0.005). FMLP and LRURec as backbones are not here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.backbones._shifted import last_state
from interlingua.backbones._text_views import TextView
from interlingua.backbones.sasrec import SasRec, SasRecConfig
from interlingua.config import FitConfig
from interlingua.contracts.added import AddedItems
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.contracts.text import Text
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD
from interlingua.errors import ConfigError
from interlingua.nn.repeated import repeated_barlow_twins, repeated_infonce


class FaeRecConfig(SasRecConfig):
    """Options of :class:`FaeRec`; the other ones are :class:`interlingua.backbones.sasrec.SasRec`'s."""

    embedding_dim: int = Field(default=128, ge=1)
    """D (paper: 128)"""
    num_heads: int = Field(default=2, ge=1)
    """attention heads (paper: 2)"""
    dropout: float = Field(default=0.4, ge=0, lt=1)
    """on both views, attention and feed-forward (paper: 0.4)"""
    loss: Literal["bce", "gbce", "ce", "sampled-ce", "shared-ce"] = "bce"
    """as in SASRec; ``bce`` with one negative is the paper's"""
    trained_scores: Literal["fused", "ids"] = "fused"
    """what states are compared with in training: the vectors that lists are made of, or ID vectors alone (the authors'
    code)"""
    align_weight: float = Field(0.2, ge=0)
    """of both alignment losses together (paper: 0.2)"""
    item_temperature: float = Field(0.05, gt=0)
    """of InfoNCE (paper: 0.05)"""
    off_diagonal: float = Field(0.005, ge=0)
    """weight of Barlow Twins' squares beside the diagonal (the authors' code: 0.005)"""
    least_item_fraction: float = Field(0.9, ge=0, le=1)
    """the least fraction of InfoNCE among the two losses; the most is 1 (paper: 0.9)"""
    period: int = Field(30, ge=1)
    """epochs of one turn from 1 to ``least_item_fraction`` and back (paper: 30)"""
    text_dropout: float = Field(0.3, ge=0, lt=1)
    """inside the text network (paper: 0.3)"""
    gate_dropout: float = Field(0.1, ge=0, lt=1)
    """inside the gate (the authors' code: 0.1)"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=256, epochs=500, patience=10)
    """training (paper: 256 sequences a step, patience 10)"""


class FaeRec(SasRec):
    """SASRec over gated sums of ID vectors and mapped texts."""

    Config = FaeRecConfig
    needs_text = True

    def __init__(self, config: FaeRecConfig, train: Interactions) -> None:
        super().__init__(config, train)
        dim = config.embedding_dim
        self.view = TextView(train, dim, self._mapper)
        out = nn.Linear(2 * dim, dim)
        nn.init.zeros_(out.bias)
        self.gate = nn.Sequential(nn.Linear(2 * dim, 2 * dim), nn.GELU(), nn.Dropout(config.gate_dropout), out)
        self.fused_norm = nn.LayerNorm(dim, eps=1e-12)
        self.register_buffer("counts", torch.as_tensor(train.item_counts), persistent=False)
        self.epoch = 0

    counts: Tensor
    """(I,) training events"""

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """No inputs that an aligner may change: it has joined with texts already."""
        return super().makes(config) - {"inputs"}

    @torch.no_grad()
    def start(self, train: Interactions, text: Text | None) -> None:
        """Takes in the texts, and sets the ID vectors to their principal components."""
        self.items.copy_(self.view.take_in(text, "faerec"))

    def extended(self, added: AddedItems) -> Self | None:
        """An item without an event is its text, and its text's principal components as ID vector."""
        if added.text is None:
            return None
        new = added.text.to(self.view.texts)
        ids = torch.cat([self.items.detach(), self.view.first(new)])
        return self.longer(added, items=ids, view=self.view.longer(new))

    def _mapper(self, width: int) -> nn.Module:
        """T -> T / 2 -> D."""
        inner, config = max(width // 2, 1), self.config
        return nn.Sequential(
            nn.Linear(width, inner), nn.GELU(), nn.Dropout(config.text_dropout), nn.Linear(inner, config.embedding_dim)
        )

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """SASRec's; the weights of the alignment losses follow the epoch."""
        drawn = super().batches(train, fit)

        def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
            self.epoch = epoch
            yield from drawn(epoch, generator)

        return make

    def _placed(self, table: Tensor, indices: Tensor, positions: Tensor) -> Tensor:
        """(B, L, D) ID vectors and mapped texts, each with its position, mixed by the gate."""
        ids = self._dropped(functional.embedding(indices, table) + positions)
        texts = self._dropped(self.view.at(indices) + positions)
        fraction = torch.sigmoid(self.gate(torch.cat([ids, texts], dim=-1)))
        mixed: Tensor = self.fused_norm(fraction * ids + (1 - fraction) * texts)
        return mixed

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.config.dropout, self.training)

    def fused(self, ids: Tensor) -> Tensor:
        """(I, D) what a state is compared with: the sum of both views, normalised."""
        made: Tensor = self.fused_norm(ids + self.view())
        return made

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """As SASRec's; ``tables`` has what training compares states with."""
        if batch.histories is None:
            raise ConfigError("faerec needs batches with histories: use sequence_batches or last_position_batches")
        ids = self.view.ids(inputs.items)
        states, lengths = self.states(ids, batch.histories)
        compared = self.fused(ids) if self.config.trained_scores == "fused" else ids
        return Encoded(Embeddings(None, compared), last_state(states, lengths), (states, lengths))

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """SASRec's loss, and the two alignments with their weights at this epoch."""
        out = super().losses(encoded, batch)
        weight = self.config.align_weight
        seen = [each.flatten() for each in (batch.histories, batch.negatives) if each is not None]
        items, copies = torch.cat([each[each != PAD] for each in seen]).unique(return_counts=True)
        if not weight or len(items) < 2:
            return out
        ids, texts = self.view.ids(self.items)[items], self.view(items)
        fraction = item_fraction(self.epoch, self.config.period, self.config.least_item_fraction)
        counts = copies.to(ids.dtype)
        by_item = repeated_infonce(ids, texts, counts, self.config.item_temperature)
        out["align_items"] = weight * fraction * by_item
        popular = self.counts[items]
        middle = popular.repeat_interleave(copies).median()
        halves = [half for half in (popular >= middle, popular < middle) if copies[half].sum() > 1]
        by_feature = [
            repeated_barlow_twins(ids[half], texts[half], counts[half], self.config.off_diagonal) for half in halves
        ]
        out["align_features"] = weight * (1 - fraction) * torch.stack(by_feature).sum()
        return out

    def item_embeddings(self) -> Tensor:
        """(I, D) the sums of both views."""
        with torch.no_grad():
            return self._compared(self.fused(self.items))


def item_fraction(epoch: int, period: int, least: float) -> float:
    """The fraction of item-level alignment: 1 at first, ``least`` half a ``period`` later, and back."""
    return least + (1 - least) * (1 + math.cos(2 * math.pi * epoch / period)) / 2
