"""LLMEmb's second stage: items are adapted texts, and a trained recommender's items say which of them are alike.

Liu et al., AAAI 2025, arXiv 2409.19925 (recommendation adaptation training). Frozen text vectors pass through two
linear layers without anything between them into the backbone's inputs; there are no ID vectors. Beside the backbone's
own loss, a contrast with soft targets holds the adapted items of a batch near to those of a teacher: the item vectors
of another, finished run, brought as ``[texts.NAME]``.

Shape key: I items, D width of the backbone's inputs and of the teacher's vectors, T text width.

**Deviations:**
- The first stage (an encoder tuned on item attributes) is the text source ``scft``; any other may stand in its place.
- The authors reduce their 4,096 dimensions to 1,536 by PCA: ``text.reduce``.
- Each item of a batch is contrasted once, however often it occurs, and at most ``contrast_anchors`` of them.
- The authors' SASRec puts the zero row of its padding before the last item, whose vector is lost: not here.
- Backbones with a user table (the paper has sequence models) learn it as ever.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator
from torch import Tensor, nn

from interlingua.align._profile_map import needed, present
from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner, Encode
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.text import Text
from interlingua.errors import ConfigError
from interlingua.nn.contrast import chosen, gather
from interlingua.nn.soft_targets import soft_target_contrast

WEIGHT, TEMPERATURE, ANCHORS = 0.01, 2.0, 1024


class LlmEmbConfig(Config):
    """Options of :class:`LlmEmb`."""

    teacher: str | None = None
    """NAME of the section ``[texts.NAME]`` with the item vectors of a finished run (``text.name = "npy"``), as wide as
    the backbone's; None: no contrast"""
    weight: float = Field(WEIGHT, ge=0)
    """alpha, of the contrast with the teacher (the authors: 0.01)"""
    temperature: float = Field(TEMPERATURE, gt=0)
    """T of the contrast (the authors: 2)"""
    contrast_anchors: int = Field(ANCHORS, ge=2)
    """at most so many random items of a batch are contrasted"""
    fit: FitConfig | None = None
    """training; None: the backbone's own"""

    @model_validator(mode="after")
    def _no_options_of_nobody(self) -> LlmEmbConfig:
        given = {"weight": WEIGHT, "temperature": TEMPERATURE, "contrast_anchors": ANCHORS}
        values = dict(self)
        idle = [name for name, default in given.items() if values[name] != default]
        if self.teacher is None and idle:
            raise ValueError(f"{', '.join(idle)} without a teacher: name one, or leave them out")
        return self


class LlmEmb(Aligner):
    """The backbone's item inputs are texts through two linear layers, in contrast with a teacher's items."""

    Config = LlmEmbConfig
    trains_backbone = True
    makes_inputs = True

    teacher: Tensor | None

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """See :class:`interlingua.contracts.component.Component`."""
        return super().needs(config) | {"text.items"} | ({"texts"} if config.teacher is not None else set())

    @classmethod
    def needs_texts(cls, config: Any) -> frozenset[str]:
        """See :class:`interlingua.contracts.component.Component`."""
        return frozenset() if config.teacher is None else frozenset({config.teacher})

    def __init__(self, config: LlmEmbConfig, backbone_dim: int, text_dim: int) -> None:
        super().__init__(config, backbone_dim, text_dim)
        hidden = max(text_dim // 2, 1)
        self.adapter = nn.Sequential(nn.Linear(text_dim, hidden), nn.Linear(hidden, backbone_dim))
        for layer in self.adapter:
            nn.init.xavier_normal_(layer.weight)  # type: ignore[arg-type]
        self.register_buffer("teacher", None, persistent=False)

    def start(self, backbone: Backbone, text: Text | None) -> None:
        """Freezes the ID vectors, which are no longer read."""
        needed(text, "llmemb")
        backbone.input_embeddings().items.requires_grad_(False)

    def fit(self, job: Fitting) -> FitLog:
        """By gradient, with the teacher's vectors at hand.

        Raises:
            ConfigError: the teacher's vectors are of another width than the backbone's inputs.
        """
        assert job.backbone is not None
        if self.config.teacher is not None:
            vectors = job.texts[self.config.teacher].rows("items").detach()
            width = self.adapter[-1].out_features
            if vectors.shape[1] != width:
                raise ConfigError(
                    f"the teacher [texts.{self.config.teacher}] has vectors of width {vectors.shape[1]}, the "
                    f"backbone's inputs have {width}; the contrast is of dot products: make both as wide"
                )
            self.teacher = vectors
        return super().fit(job)

    def inputs(self, inputs: Embeddings, text: Text | None) -> Embeddings:
        """Adapted texts instead of the backbone's items."""
        return Embeddings(inputs.users, self.adapter(needed(text, "llmemb").rows("items")))

    def forward(
        self, encode: Encode, inputs: Embeddings, text: Text | None, batch: Batch
    ) -> tuple[Encoded, dict[str, Tensor]]:
        """The batch encoded from adapted texts, and ``teacher``: the contrast times its weight, if there is one."""
        made = self.inputs(inputs, text)
        encoded = encode(made, batch)
        if self.teacher is None:
            return encoded, {}
        items = present(batch.positives).unique()
        items = items[chosen(len(items), self.config.contrast_anchors, items.device)]
        loss = soft_target_contrast(self.teacher[items], gather(made.items, items), self.config.temperature)
        return encoded, {"teacher": self.config.weight * loss}
