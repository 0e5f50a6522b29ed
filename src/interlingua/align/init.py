"""Text vectors as the backbone's first ID vectors, which then train as usual: the cheapest use of texts.

LLMInit picks the dimensions of largest variance (Zhang et al. 2025, arXiv 2503.01814); LLM2BERT4Rec and LLM-ESR take
principal components (arXiv 2402.01339, 2405.20646). Users start at the mean of their items.

Shape key: D width of the backbone's inputs, T text width.

**Deviations:** variance is measured over all items, not the most popular fifth; vectors are scaled to the root mean
square of the weights that they replace, so that the first steps are as large as without texts.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from interlingua.align._profile_map import needed
from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.text import Text
from interlingua.errors import ConfigError


class InitConfig(Config):
    """Options of :class:`Init`."""

    pick: Literal["variance", "pca"] = "pca"
    """the D dimensions of largest variance, or the first D principal components"""
    scale: float = Field(default=1.0, gt=0)
    """root mean square of the new vectors, in units of the vectors that they replace"""
    fit: FitConfig | None = None
    """training; None: the backbone's own"""


class Init(Aligner):
    """The backbone alone, with other initial vectors."""

    Config = InitConfig
    reads = frozenset({"text.items"})
    trains_backbone = True
    picks_dimensions = True

    @torch.no_grad()
    def start(self, backbone: Backbone, text: Text | None) -> None:
        """Writes the picked dimensions over the backbone's vectors; users only if there are user texts.

        Raises:
            ConfigError: the texts have fewer dimensions than the backbone, or there are none.
        """
        source, inputs = needed(text, "init"), backbone.input_embeddings()
        items, width = source.rows("items"), inputs.items.shape[1]
        if items.shape[1] < width:
            raise ConfigError(
                f"the aligner 'init' picks {width} of the text's dimensions, but there are only {items.shape[1]}; "
                "raise them, or choose narrower vectors of the backbone"
            )
        mean = items.mean(0)
        basis = directions(items, width, self.config.pick)
        pairs = [(inputs.items, items)]
        if inputs.users is not None and source.has_users:
            pairs.append((inputs.users, source.rows("users")))
        picked = (items - mean) @ basis
        factor = (
            self.config.scale * inputs.items.square().mean().sqrt() / picked.square().mean().sqrt().clamp_min(1e-12)
        )
        for own, texts in pairs:
            own.copy_(((texts - mean) @ basis) * factor)


def directions(items: Tensor, width: int, pick: Literal["variance", "pca"]) -> Tensor:
    """(T, width) orthonormal columns: unit vectors of the dimensions with largest variance, or principal axes."""
    centred = (items - items.mean(0)).double()
    if pick == "variance":
        chosen = centred.square().sum(0).topk(width).indices.sort().values
        return torch.eye(items.shape[1])[:, chosen]
    _, basis = torch.linalg.eigh(centred.T @ centred)  # ascending
    return basis[:, -width:].flip(1).float()
