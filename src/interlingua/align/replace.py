"""Items (and users) are their texts: a network maps them to the backbone's inputs, and there are no ID vectors.

With a sequence model this is MoRec (Yuan et al. SIGIR 2023, arXiv 2303.13835) over frozen text vectors; with LightGCN
and users as the mean of their items' texts it is AlphaRec (Sheng et al. ICLR 2025, arXiv 2407.05441); with ``experts``
and the backbone ``sasrec`` by cosines UniSRec without its pre-training on other domains, in its inductive setting (Hou
et al. KDD 2022, arXiv 2206.05941): items without an event are scored and read like all others.

Shape key: D width of the backbone's inputs, T text width.

**Deviations:** MoRec also trains the text encoder (here: frozen vectors). AlphaRec's loss is the backbone's option
``loss = "softmax"``, not part of this aligner, so that the same loss can be measured without texts.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from interlingua.align._profile_map import need_users, needed, profile_map
from interlingua.align._whitening_experts import WhiteningExperts
from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner, Encode
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.contracts.text import Text


class ReplaceConfig(Config):
    """Options of :class:`Replace`."""

    only_with: ClassVar = {"num_experts": ("map", ("experts",)), "text_dropout": ("map", ("experts",))}

    map: Literal["mlp", "linear", "experts"] = "mlp"
    """Linear, LeakyReLU, Linear, or one linear map (AlphaRec has both), or a gated sum of linear maps (UniSRec)"""
    num_experts: int = Field(8, ge=1)
    """``experts``: number of maps (UniSRec: 8)"""
    text_dropout: float = Field(0.2, ge=0, lt=1)
    """``experts``: on the text vectors (UniSRec: 0.2)"""
    users: bool = True
    """users come from texts too, if the backbone has a user table and there are user texts; else from IDs"""
    fit: FitConfig | None = None
    """training; None: the backbone's own"""


class Replace(Aligner):
    """The backbone's inputs are mapped texts."""

    Config = ReplaceConfig
    trains_backbone = True
    makes_inputs = True

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """See :class:`interlingua.contracts.component.Component`."""
        own = {"text.items"} | ({"text.user_table"} if config.users else set())
        return super().needs(config) | own

    def __init__(self, config: ReplaceConfig, backbone_dim: int, text_dim: int) -> None:
        super().__init__(config, backbone_dim, text_dim)
        self.map: nn.Module
        if config.map == "linear":
            self.map = nn.Linear(text_dim, backbone_dim)
        elif config.map == "experts":
            self.map = WhiteningExperts(text_dim, backbone_dim, config.num_experts, config.text_dropout)
        else:
            self.map = profile_map(text_dim, backbone_dim)

    def start(self, backbone: Backbone, text: Text | None) -> None:
        """Freezes the ID vectors, which are no longer read."""
        inputs = backbone.input_embeddings()
        inputs.items.requires_grad_(False)
        if inputs.users is not None and self.config.users:
            inputs.users.requires_grad_(False)

    def inputs(self, inputs: Embeddings, text: Text | None) -> Embeddings:
        """Mapped texts instead of the backbone's vectors."""
        source = needed(text, "replace")
        users = inputs.users
        if users is not None and self.config.users:
            need_users(source, "replace")
            users = self.map(source.rows("users"))
        return Embeddings(users, self.map(source.rows("items")))

    def forward(
        self, encode: Encode, inputs: Embeddings, text: Text | None, batch: Batch
    ) -> tuple[Encoded, dict[str, Tensor]]:
        """The batch encoded from texts; no loss of its own."""
        return encode(self.inputs(inputs, text), batch), {}
