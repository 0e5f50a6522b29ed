"""SGL: LightGCN trained together with a contrast of two randomly thinned views of its graph (Wu et al. SIGIR 2021).

``L = L_bpr + cl_weight * L_ssl + l2`` (arXiv 2010.10783, eq. 11) with views by node dropout, edge dropout or random
walk, i.e. a new edge dropout in every layer (eq. 7-9).

Shape key: N nodes, E directed edges, D width.

**Deviations:**
- ``views = "step"`` draws new views for every batch, as in RLMRec's code; the paper draws them once an epoch.
- ``renormalise = False`` leaves the weights of kept edges as they were, ``undirected = False`` drops each direction of
  an edge by itself, ``repeats`` and ``contrast_negatives`` count the batch's repeated and negative items, and
  ``node_drop = "inputs"`` zeroes input vectors instead of cutting edges: all RLMRec's code. Its layer count for the
  views (a general setting, not the dataset's) is not copied.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from interlingua.backbones._views import Views, ViewsConfig, view_loss
from interlingua.backbones.lightgcn import LightGcn
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.data.interactions import Interactions
from interlingua.nn.graph import as_nodes, as_tables, drop_edges, drop_nodes, propagate


class SglConfig(ViewsConfig):
    """Options of :class:`Sgl`."""

    augmentation: Literal["edge-drop", "node-drop", "random-walk"] = "edge-drop"
    """how a view is thinned (paper: ED, ND, RW)"""
    view_keep_rate: float = Field(default=0.8, gt=0, le=1)
    """fraction of edges or nodes that stay in a view (paper: 1 - rho, rho 0.1 to 0.5; RLMRec: 0.8)"""
    views: Literal["epoch", "step"] = "epoch"
    """when new views are drawn"""
    renormalise: bool = True
    """weights of a view follow its own degrees (paper); a node that lost all its edges gets nothing from neighbours"""
    undirected: bool = True
    """both directions of an edge stay or go together, so that a view is a graph (paper); false: each by itself, a
    dropout of the matrix's entries (RLMRec's code)"""
    node_drop: Literal["edges", "inputs"] = "edges"
    """node dropout removes a node's edges (paper) or zeroes its input vector"""


class Sgl(LightGcn):
    """LightGCN with a contrast between two thinned graphs."""

    Config = SglConfig

    def __init__(self, config: Any, train: Interactions) -> None:
        super().__init__(config, train)
        self._drawn: list[list[Tensor]] = []

    def begin_epoch(self) -> None:
        """Forgets the last epoch's views."""
        self._drawn = []

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """Encodes the whole graph; in training, also its two views."""
        if not self.training:
            return super().encode(inputs, batch)
        if self.config.views == "step" or not self._drawn:
            self._drawn = [self.draw_view(), self.draw_view()]
        first, second = (self.view(inputs, weights) for weights in self._drawn)
        return self.encoded(self.smooth(inputs), batch, Views(inputs, first, second))

    def draw_view(self) -> list[Tensor]:
        """One (E,) edge weights for each layer; with ``node_drop = "inputs"`` one (N, 1) mask of inputs."""
        c = self.config
        if c.augmentation == "node-drop":
            if c.node_drop == "inputs":
                return [(torch.rand(self.graph.num_nodes, 1, device=self.users.device) < c.view_keep_rate).float()]
            return [drop_nodes(self.graph, c.view_keep_rate, renormalise=c.renormalise)] * c.num_layers
        if c.augmentation == "edge-drop":
            return [self._thinned_view()] * c.num_layers
        return [self._thinned_view() for _ in range(c.num_layers)]

    def _thinned_view(self) -> Tensor:
        c = self.config
        return drop_edges(self.graph, c.view_keep_rate, renormalise=c.renormalise, symmetric=c.undirected)

    def view(self, inputs: Embeddings, drawn: list[Tensor]) -> Embeddings:
        """Final vectors over a thinned graph."""
        masked = self.config.augmentation == "node-drop" and self.config.node_drop == "inputs"
        layer = as_nodes(inputs) * drawn[0] if masked else as_nodes(inputs)
        total = layer
        for number in range(self.config.num_layers):
            layer = propagate(self.graph, layer, None if masked else drawn[number])
            total = total + layer
        scale = 1 / (self.config.num_layers + 1) if self.config.layers == "mean" else 1.0
        return as_tables(self.graph, total * scale)

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """LightGCN's losses and ``contrast``."""
        views: Views = encoded.private
        out = self.pair_losses(encoded, batch, views.inputs)
        return {**out, "contrast": view_loss(views.first, views.second, batch, self.config)}
