"""Backbone, texts and aligner as one module with one loss, for a training step."""

from __future__ import annotations

from torch import Tensor, nn

from interlingua.contracts.aligner import Aligner
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch
from interlingua.contracts.text import Text


class Joint(nn.Module):
    """The only place where backbone, text and aligner meet; ``forward(batch)`` is the training contract."""

    def __init__(
        self, backbone: Backbone, aligner: Aligner, text: Text | None = None, *, frozen_backbone: bool = False
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.aligner = aligner
        self.text = text  # registered as a child when it is a module (a trainable encoder)
        self.frozen_backbone = frozen_backbone
        if frozen_backbone:
            backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> Joint:
        """A frozen backbone stays in evaluation mode: its dropout would be noise that nothing learns from."""
        super().train(mode)
        if self.frozen_backbone:
            self.backbone.eval()
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses of one batch."""
        encoded, extra = self.aligner(self.backbone.encode, self.backbone.input_embeddings(), self.text, batch)
        apart = self.frozen_backbone or self.aligner.only_own_losses
        own = {} if apart else self.backbone.losses(encoded, batch)
        return {**own, **extra}
