"""SimGCL: LightGCN trained together with a contrast of two noisy copies of its vectors (Yu et al. SIGIR 2022).

Each layer of a view adds noise of length ``eps`` in the vector's own orthant (arXiv 2112.08679, eq. 5-7); the loss is
BPR plus a weighted InfoNCE between the two views (eq. 4).

Shape key: N nodes, D width.

**Deviations:** ``skip_input = False`` also counts the input vectors among the layers, ``contrast = "all"`` contrasts a
node with all nodes of its side instead of those in the batch, and ``repeats`` counts repeated ids: RLMRec's code.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional

from interlingua.backbones._views import Views, ViewsConfig, view_loss
from interlingua.backbones.lightgcn import LightGcn
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.nn.graph import as_nodes, as_tables, propagate


class SimGclConfig(ViewsConfig):
    """Options of :class:`SimGcl`."""

    eps: float = Field(default=0.1, ge=0)
    """length of the noise (paper: 0.1; RLMRec: 0.9)"""
    skip_input: bool = True
    """the final vector leaves out the input layer (paper)"""
    contrast: Literal["all", "batch"] | PositiveInt = "batch"
    """candidates for a node's other view: the batch's nodes (paper), all of its side, or this number of random ones"""
    cl_weight: float = Field(default=0.5, ge=0)
    """weight of the contrastive loss (paper: 0.5 on two of three datasets)"""


class SimGcl(LightGcn):
    """LightGCN with a contrast between two noisy views."""

    Config = SimGclConfig

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """The clean vectors; in training, also two noisy views."""
        tables = self.smooth(inputs)
        if not self.training:
            return self.encoded(tables, batch, inputs)
        views = Views(
            inputs,
            self.smooth(inputs, noise=self.config.eps),
            self.smooth(inputs, noise=self.config.eps),
        )
        return self.encoded(tables, batch, views)

    def smooth(self, inputs: Embeddings, weights: Tensor | None = None, noise: float = 0.0) -> Embeddings:
        """Final vectors from input vectors; with ``noise`` every layer gets a random vector of that length added."""
        layer = as_nodes(inputs)
        layers = [] if self.config.skip_input and self.config.num_layers else [layer]
        for _ in range(self.config.num_layers):
            layer = propagate(self.graph, layer, weights)
            if noise:
                layer = layer + noise * functional.normalize(torch.rand_like(layer), dim=1) * layer.sign()
            layers.append(layer)
        total = torch.stack(layers).sum(0) if len(layers) > 1 else layers[0]
        return as_tables(self.graph, total / len(layers) if self.config.layers == "mean" else total)

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """LightGCN's losses and ``contrast``."""
        views: Views = encoded.private
        out = self.pair_losses(encoded, batch, views.inputs)
        return {**out, "contrast": view_loss(views.first, views.second, batch, self.config)}
