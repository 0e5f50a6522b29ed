"""DCCF: propagation over the graph, global intents, and views with new edge weights (Ren et al. 2023).

With ``E`` the vectors of a layer, its four parts are (SIGIR 2023, arXiv 2305.02759, section 3; HKUDS/DCCF):
``Z = D^-1/2 A D^-1/2 E``; intents ``R = softmax(E C) C^T`` with K prototypes ``C`` per side; and twice the graph with
each edge weighted by the similarity of its ends, ``(cos + 1) / 2`` in Z or in R, every node's weights summing to 1. The
next layer is their sum plus ``E``, and all layers are added up. Besides BPR, each node's row of Z is contrasted with
its row in each of the other three parts of that layer, against the batch's other users (or items).

Shape key: U users, I items, N = U + I nodes, E directed edges, B rows, D width, K intents.

**Deviations:**
- ``l2`` is on the mean over a batch; the authors sum 2.5e-5 over batches of 10,240 rows, which is ``l2 = 0.512`` here.
- Vectors start from a uniform instead of a normal Xavier distribution, as in RLMRec's code.
- RLMRec's code regularises all parameters (``fit.weight_decay`` twice its ``reg_weight``, ``l2`` and ``intent_l2`` 0)
  and divides the items' contrast by the number of distinct *users* (``item_mean = "users"``): options.
- The authors add 1e-8 to partition functions and chances; none is near that small, and nothing is added here.
- Users unseen in training are folded in by one ridge regression on the item vectors; the paper does not treat them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.backbones.lightgcn import LightGcn, LightGcnConfig
from interlingua.config import Config, FitConfig
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.data.interactions import Interactions
from interlingua.nn.contrast import chosen, distinct, gather, infonce
from interlingua.nn.graph import Graph, as_nodes, as_tables, edge_dot, propagate


class DccfConfig(LightGcnConfig):
    """Options of :class:`Dccf`; ``keep_rate`` acts on the plain propagation alone."""

    embedding_dim: int = Field(32, ge=1)
    """D (paper: 32)"""
    num_layers: int = Field(2, ge=0)
    """layers of four parts each (paper: 2)"""
    layers: Literal["mean", "sum"] = "sum"
    """how the layers and the input become one vector: ``sum`` (paper) or ``mean``"""
    num_intents: int = Field(128, ge=1)
    """K prototypes of users, and K of items (paper: 128)"""
    cl_weight: float = Field(0.1, ge=0)
    """weight of the contrastive loss (the authors' code: 0.1; RLMRec: 1e-3)"""
    temperature: float = Field(1.0, gt=0)
    """of the contrastive loss (the authors' code: 1; RLMRec: 0.1)"""
    item_mean: Literal["items", "users"] = "items"
    """the items' contrast is divided by the number of the batch's distinct ``items`` (paper) or ``users`` (RLMRec's
    code)"""
    contrast_anchors: int | None = Field(None, ge=1)
    """at most so many random users, and items, of a batch are told from all others of it: the same loss in expectation,
    in a fraction of the time (None: all; 1,024 halve an epoch of 4,096 pairs a batch)"""
    l2: float = Field(0.512, ge=0)
    """weight of the mean over the batch of ``(|e_u|^2 + |e_i|^2 + |e_j|^2) / 2`` of the input vectors"""
    intent_l2: float = Field(5e-3, ge=0)
    """weight of the prototypes' squared lengths (the authors' code: 5e-3)"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=10240, epochs=1000, evaluate_every=5, patience=10)
    """training"""


@dataclass(frozen=True)
class Parts:
    """The four parts of a layer, each (N, D)."""

    gnn: Tensor
    """propagated over the graph"""
    intents: Tensor
    """the node's mix of prototypes"""
    by_gnn: Tensor
    """propagated over edges weighted by similarity in ``gnn``"""
    by_intents: Tensor
    """propagated over edges weighted by similarity in ``intents``"""


def adaptive(graph: Graph, nodes: Tensor, view: Tensor) -> Tensor:
    """(N, D) each node's mean of its neighbours, weighted by the similarity of both in ``view``: ``(cos + 1) / 2``.

    A node without an edge gets zeros.

    Args:
        graph: its edges.
        nodes: (N, D) vectors to average.
        view: (N, V) vectors whose similarity counts. Gradients flow through them.
    """
    unit = functional.normalize(view)
    alike = ((edge_dot(graph, unit, unit) + 1) / 2).clamp_min(0)  # a rounded cosine may lie below -1
    mass = torch.zeros_like(nodes[:, 0]).index_add(0, graph.sources, alike)
    return propagate(graph, nodes, alike) / torch.where(mass > 0, mass, 1.0)[:, None]


class Dccf(LightGcn):
    """Dot products of users and items after layers of four parts."""

    Config: ClassVar[type[Config]] = DccfConfig

    def __init__(self, config: Any, train: Interactions) -> None:
        super().__init__(config, train)
        shape = config.embedding_dim, config.num_intents
        self.user_intents = nn.Parameter(nn.init.xavier_uniform_(torch.empty(shape)))
        self.item_intents = nn.Parameter(nn.init.xavier_uniform_(torch.empty(shape)))

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """All nodes after all layers; keeps each layer's parts for the contrast."""
        weights = self._thinned() if self._drops() else None
        tables, parts = self.layers_of(inputs, weights)
        return self.encoded(tables, batch, private=(inputs, parts))

    def smooth(self, inputs: Embeddings, weights: Tensor | None = None) -> Embeddings:
        """Final vectors from input vectors; given weights (E,) replace the graph's own in the plain propagation."""
        return self.layers_of(inputs, weights)[0]

    def layers_of(self, inputs: Embeddings, weights: Tensor | None = None) -> tuple[Embeddings, list[Parts]]:
        """Final vectors, and the parts of each layer."""
        layer = total = as_nodes(inputs)
        made = []
        for _ in range(self.config.num_layers):
            gnn = propagate(self.graph, layer, weights)
            intents = self._intents(layer)
            parts = Parts(gnn, intents, adaptive(self.graph, layer, gnn), adaptive(self.graph, layer, intents))
            layer = layer + parts.gnn + parts.intents + parts.by_gnn + parts.by_intents
            total = total + layer
            made.append(parts)
        if self.config.layers == "mean":
            total = total / (self.config.num_layers + 1)
        return as_tables(self.graph, total), made

    def _intents(self, nodes: Tensor) -> Tensor:
        sides = as_tables(self.graph, nodes)
        assert sides.users is not None
        pairs = ((sides.users, self.user_intents), (sides.items, self.item_intents))
        mixed = [torch.softmax(vectors @ prototypes, dim=1) @ prototypes.T for vectors, prototypes in pairs]
        return torch.cat(mixed).to(nodes.dtype)  # half precision under autocast

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """``bpr``, ``contrast`` between the parts of each layer, ``l2`` and ``intent_l2`` if they have a weight."""
        inputs, parts = encoded.private
        out = self.pair_losses(encoded, batch, inputs)
        if self.config.cl_weight and parts:
            out["contrast"] = self.config.cl_weight * self._contrast(parts, batch)
        if self.config.intent_l2:
            squared = self.user_intents.square().sum() + self.item_intents.square().sum()
            out["intent_l2"] = self.config.intent_l2 * squared
        return out

    def _contrast(self, parts: list[Parts], batch: Batch) -> Tensor:
        """Sum over layers, sides and views of the InfoNCE between the propagated rows and the view's."""
        users, items = distinct(batch.users)[0], distinct(batch.positives)[0]
        fraction = len(items) / max(len(users), 1) if self.config.item_mean == "users" else 1.0
        total = users.new_zeros((), dtype=torch.float32)
        for layer in parts:
            for indices, weight in ((users, 1.0), (items + self.graph.num_users, fraction)):
                some = chosen(len(indices), self.config.contrast_anchors, indices.device)
                anchors = gather(layer.gnn, indices[some])
                for view in (layer.intents, layer.by_gnn, layer.by_intents):
                    candidates = gather(view, indices)
                    loss = infonce(anchors, gather(candidates, some), candidates, temperature=self.config.temperature)
                    total = total + weight * loss
        return total
