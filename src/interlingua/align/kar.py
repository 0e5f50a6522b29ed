"""KAR's adaptor: experts map texts to the backbone's width, and the result is added to the ID vectors.

Hybrid-expert adaptor of Xi et al. (RecSys 2024, arXiv 2306.10933, section 3.3): shared experts and experts of each
side, mixed by softmax gates.

Shape key: n rows, D width of the backbone's inputs, T text width, K experts.

**Deviations:** KAR feeds click models that take extra features; for models that are nothing but vectors RLMRec's
comparison must add or concatenate, and does not say which. Here the adapted text is added to the ID vector. One text
per user and item, where KAR has two (reasoning, facts).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from interlingua.align._both_sides import plus_texts
from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner, Encode
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded, Side
from interlingua.contracts.text import Text


class KarConfig(Config):
    """Options of :class:`Kar`."""

    shared_experts: int = Field(2, ge=0)
    """experts that users and items share"""
    own_experts: int = Field(2, ge=1)
    """experts of each side"""
    hidden_dim: int = Field(64, ge=1)
    """width of an expert's hidden layer"""
    fit: FitConfig | None = None
    """training; None: the backbone's own"""


class Kar(Aligner):
    """ID vectors plus adapted texts."""

    Config = KarConfig
    reads = frozenset({"text.items", "text.user_table"})
    trains_backbone = True
    makes_inputs = True

    def __init__(self, config: KarConfig, backbone_dim: int, text_dim: int) -> None:
        super().__init__(config, backbone_dim, text_dim)

        def experts(count: int) -> nn.ModuleList:
            return nn.ModuleList(
                nn.Sequential(
                    nn.Linear(text_dim, config.hidden_dim), nn.LeakyReLU(), nn.Linear(config.hidden_dim, backbone_dim)
                )
                for _ in range(count)
            )

        self.shared = experts(config.shared_experts)
        self.own = nn.ModuleDict({side: experts(config.own_experts) for side in ("user", "item")})
        total = config.shared_experts + config.own_experts
        self.gates = nn.ModuleDict({side: nn.Linear(text_dim, total) for side in ("user", "item")})

    def start(self, backbone: Backbone, text: Text | None) -> None:
        """Drops the users' experts if the backbone has no user table."""
        if backbone.input_embeddings().users is None:
            del self.own["user"], self.gates["user"]

    def adapt(self, vectors: Tensor, side: Side) -> Tensor:
        """(n, D) the experts' outputs for texts (n, T), mixed by the side's gate."""
        own = self.own[side.removesuffix("s")]
        assert isinstance(own, nn.ModuleList)
        outputs = torch.stack([expert(vectors) for expert in (*self.shared, *own)], dim=1)
        gate = torch.softmax(self.gates[side.removesuffix("s")](vectors), dim=1)
        return (gate[..., None] * outputs).sum(1)

    def inputs(self, inputs: Embeddings, text: Text | None) -> Embeddings:
        """ID vectors plus adapted texts; for users too if the backbone has a user table."""
        return plus_texts(inputs, text, "kar", self.adapt)

    def forward(
        self, encode: Encode, inputs: Embeddings, text: Text | None, batch: Batch
    ) -> tuple[Encoded, dict[str, Tensor]]:
        """The batch encoded from the sums; no loss of its own."""
        return encode(self.inputs(inputs, text), batch), {}
