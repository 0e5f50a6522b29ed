"""Training in two stages behind a pre-training: item vectors are made anew in the first, and stay in the second."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from interlingua.config import PretrainedFit


class TwoStageFit(PretrainedFit):
    """How both stages are trained: the second begins from the best state of the first."""

    second_stage_epochs: int | None = Field(default=None, ge=0)
    """of ``epochs``, the last so many leave the items' vectors as they are; patience ends none before them. None: a
    sixth of those behind the pre-training"""

    @property
    def first_stage_end(self) -> int:
        """The number (from 1) of the first stage's last epoch."""
        sixth = max(self.epochs - self.pretrain_epochs, 0) // 6
        return self.epochs - (sixth if self.second_stage_epochs is None else self.second_stage_epochs)

    @model_validator(mode="after")
    def _item_vectors_are_made(self) -> Self:
        if self.epochs and self.first_stage_end <= self.pretrain_epochs:
            second = self.epochs - self.first_stage_end
            raise ValueError(
                f"epochs = {self.epochs} leaves no epoch for the first stage, in which item vectors are made: "
                f"pretrain_epochs = {self.pretrain_epochs} come before it and second_stage_epochs = {second} after it; "
                f"set epochs to more than {self.pretrain_epochs + second}, or lower these (0: none)"
            )
        return self

    def may_stop(self, epoch: int) -> bool:
        """In the second stage."""
        return epoch > self.first_stage_end

    def goes_back(self, epoch: int) -> bool:
        """Before the second stage."""
        return epoch == self.first_stage_end
