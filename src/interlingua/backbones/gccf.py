"""LR-GCCF: linear graph convolutions with concatenated layers, i.e. residual preferences (Chen 2020).

``E^(k+1) = S E^(k) W^(k)`` with ``S`` the symmetrically normalised graph with self loops (AAAI 2020, arXiv 2001.10167,
eq. 7), and the score is the dot product of the concatenated layers (eq. 10-11), trained by BPR (eq. 12).

Shape key: N nodes, D width of a layer, K layers; final vectors have (K + 1) D dimensions.

**Deviations:** ``transform = False`` leaves out ``W`` and ``self_loops = False`` the loops: RLMRec's code has no W, and
loops only where nothing is aligned with texts.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from interlingua.backbones.lightgcn import LightGcn, LightGcnConfig
from interlingua.contracts.batch import Embeddings
from interlingua.data.interactions import Interactions
from interlingua.nn.graph import as_nodes, as_tables, propagate


class GccfConfig(LightGcnConfig):
    """Options of :class:`Gccf`."""

    num_layers: int = Field(default=2, ge=0)
    """K propagations (RLMRec: 2)"""
    transform: bool = True
    """a D x D matrix per layer (paper); False: none (RLMRec's code)"""
    self_loops: bool = True
    """an edge from every node to itself (paper)"""

    @field_validator("layers")
    @classmethod
    def _concatenated(cls, value: str) -> str:
        if value != "mean":
            raise ValueError("GCCF concatenates its layers: it reads no layers; leave the option out")
        return value


class Gccf(LightGcn):
    """Dot products of concatenated linear layers."""

    Config = GccfConfig

    @classmethod
    def self_loops(cls, config: Any) -> bool:
        """As the options say."""
        return bool(config.self_loops)

    def __init__(self, config: Any, train: Interactions) -> None:
        super().__init__(config, train)
        width, count = config.embedding_dim, config.num_layers if config.transform else 0
        self.transforms = nn.ParameterList(nn.init.xavier_uniform_(torch.empty(width, width)) for _ in range(count))

    def smooth(self, inputs: Embeddings, weights: Tensor | None = None) -> Embeddings:
        """(., (K + 1) D) all layers, concatenated."""
        layers = [as_nodes(inputs)]
        for number in range(self.config.num_layers):
            layer = propagate(self.graph, layers[-1], weights)
            layers.append(layer @ self.transforms[number] if self.config.transform else layer)
        return as_tables(self.graph, torch.cat(layers, dim=1))
