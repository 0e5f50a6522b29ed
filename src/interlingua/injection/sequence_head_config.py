"""Options of the scorer ``sequence-head``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from interlingua.injection.vector_reading import Slots, VectorRankerConfig


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
