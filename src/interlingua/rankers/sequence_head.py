"""A head over the items on a frozen language model that reads a history as vectors alone, without a word. Ours.

It grew out of A-LLMRec's stage 2 (:mod:`interlingua.rankers.soft_prompt`): the same two projectors, but the prompt is
the history's vectors, every position predicts the next item, so one pass over 50 items trains 50 answers, and a head
scores the whole catalogue. With ``fuse_scores`` a :class:`ScoreFusion` joins head, backbone and text similarity.

Shape key: B rows, L history, I items, D item vectors, H input width, H' width of a state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from interlingua.contracts.batch import Batch, FloatArray
from interlingua.data.queries import PAD, IntArray, Queries
from interlingua.lm import history as sequence
from interlingua.lm import padding
from interlingua.rankers._vector_options import Slots, VectorRankerConfig
from interlingua.rankers._vector_ranker import VectorRanker


class ItemSlots(Slots):
    """Where the vectors that are read come from: there are items in any case."""

    item: Literal["align", "backbone", "random"] = "align"
    """the items' vectors: joint ones, the backbone's own, random ones (ablation)"""


class SequenceHeadConfig(VectorRankerConfig):
    """Options of :class:`SequenceHead`."""

    slots: ItemSlots = ItemSlots()
    """which vectors are read"""
    head_weight: float = Field(default=1.0, ge=0)
    """weight of the head's softmax over all items"""
    batch_by: Literal["sequences", "events"] = "sequences"
    """what batches hold equally many of, see :func:`interlingua.training.batches.sequence_batches`"""
    lm_weights: Literal["pretrained", "shuffled", "none"] = "pretrained"
    """controls: ``shuffled`` weights; ``none``: no language model, its state is the mean of the soft tokens"""

    @model_validator(mode="after")
    def _something_to_learn(self) -> SequenceHeadConfig:
        if not self.has_head:
            raise ValueError("head_weight and distill_weight are both 0: nothing to train")
        return self


class SequenceHead(VectorRanker):
    """Vectors of a history in, scores of all items out."""

    Config = SequenceHeadConfig
    version = 1
    ranks_catalogue = True
    words = False

    @classmethod
    def fingerprint(cls, config: SequenceHeadConfig) -> dict[str, str]:
        """Without the language model's contents, if this is the control without one."""
        without = ("model",) if config.lm_weights == "none" else ()
        return {name: found for name, found in super().fingerprint(config).items() if name not in without}

    def batches(self, epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Windows of histories with a target at every position."""
        return self.window_batches(generator)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses: ``head`` and ``distill``."""
        assert batch.histories is not None
        self._place()
        vectors = self.vectors.dropped(self.config.cold_dropout)
        states, where = self._sequence_states(vectors, batch.histories)
        targets = sequence.shifted(batch.positives, batch.histories)[0]
        keep = where & (targets != PAD)
        return self._head_losses(states[keep], targets[keep], vectors, batch.histories, keep)

    def _sequence_states(self, vectors: Tensor, histories: Tensor) -> tuple[Tensor, Tensor]:
        """States (B, L, H') of right-padded histories and which places (B, L) hold an item."""
        assert self.item_projector is not None
        shifted, where = sequence.shifted(histories, histories)
        distinct, back = torch.unique(shifted.clamp_min(0), return_inverse=True)
        soft = self.item_projector(vectors[distinct])[back]
        if self.user_projector is not None:
            users = self._users(sequence.prefix_queries(histories, where))  # the user as of each place
            soft = soft.index_put(torch.nonzero(where, as_tuple=True), users, accumulate=True)
        soft = soft * where[..., None]
        soft = functional.dropout(soft, self.config.dropout, self.training)
        if self.lm is None:
            count = torch.arange(1, soft.shape[1] + 1, device=soft.device)[None, :, None]
            return soft + soft.cumsum(1) / count, where
        return self.lm.forward(soft).states, where  # causal, padding behind: no mask is needed

    def states(self, queries: Queries, vectors: Tensor) -> Tensor:
        """(B, H') states at the last item of each history."""
        width = int(np.clip(queries.lengths().max(initial=1), 1, self.config.history_length))
        histories = torch.as_tensor(queries.padded(width), device=self.device)
        return padding.last_states(*self._sequence_states(vectors, histories))

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Scores of the catalogue, or of candidates (see :class:`interlingua.contracts.scorer.Scorer`)."""
        self.eval()
        self._place()
        return self.catalogue_scores(queries, items)
