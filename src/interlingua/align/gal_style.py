"""A text tower that is to know the graph: its rows are contrasted with their means over one and two hops. Gal-style.

Not Gal-Rec (Guan et al., arXiv 2406.13235), which is a language model whose prompt lists neighbours (the ranker
``gal-rec``, from the same summaries); this keeps its idea of contrasts that imitate a graph network, without a language
model. The tower is one affine map of texts, for users and items alike. ``h0`` is a node's own row, ``h1`` the mean of
its neighbours' in the training graph, ``h2`` that of their neighbours' (of a user, those who share items with it),
itself left out. InfoNCE of h2 with h0 and of h1 with h0, for users and for items, against a queue of detached h0 rows
of this batch and earlier ones; the losses are added to the backbone's own. The tower's rows are added to the backbone's
inputs, so that an item without events has what its text says. **Ours:** all of the form; queue 4,096, temperature .1
and weights .1 are a RECONSTRUCTION.

An affine map of a mean is the mean of the mapped rows: the means over hops are made once, of the texts, and are exact.

Shape key: n nodes of a batch, T text width, D width of the backbone's inputs, Q keys.

**Limit:** sequence models have no user table: of them only items are contrasted, with their two hops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from interlingua.align._both_sides import plus_texts, summed, texts_for
from interlingua.align._profile_map import needed, present
from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner, Encode
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded, Side
from interlingua.contracts.text import Text
from interlingua.data.interactions import Interactions
from interlingua.nn.contrast import chosen
from interlingua.nn.hop_contrast import ONE_HOP, TWO_HOP, hop_contrasts
from interlingua.nn.hop_means import Hops, hop_means
from interlingua.nn.key_queue import EMPTY, enqueue


class GalStyleConfig(Config):
    """Options of :class:`GalStyle`."""

    one_hop_weight: float = Field(0.1, ge=0)
    """of the contrasts of h1 with h0"""
    two_hop_weight: float = Field(0.1, ge=0)
    """of the contrasts of h2 with h0"""
    temperature: float = Field(0.1, gt=0)
    """of the contrasts"""
    queue_size: int = Field(4096, ge=1)
    """Q, keys of each side"""
    max_nodes: int = Field(1024, ge=1)
    """at most so many random users and as many items of a batch are contrasted"""
    fit: FitConfig | None = None
    """training; None: the backbone's own"""


class GalStyle(Aligner):
    """ID vectors plus a text tower that is contrasted along the training graph."""

    Config = GalStyleConfig
    reads = frozenset({"text.table", "text.user_table"})
    trains_backbone = True
    makes_inputs = True

    def __init__(self, config: GalStyleConfig, backbone_dim: int, text_dim: int) -> None:
        super().__init__(config, backbone_dim, text_dim)
        self.tower = nn.Linear(text_dim, backbone_dim)
        for side in ("users", "items"):
            self.register_buffer(f"{side}_nodes", torch.full((config.queue_size,), EMPTY))
            self.register_buffer(f"{side}_keys", torch.zeros(config.queue_size, backbone_dim))
        self._text: Text | None = None
        self._hops: dict[Side, Hops] = {}

    def start(self, backbone: Backbone, text: Text | None) -> None:
        """Looks whether there are the texts that it reads."""
        self._text = texts_for(backbone, text, "gal-style")

    def batches(
        self, backbone: Backbone, train: Interactions, fit: FitConfig
    ) -> Callable[[int, np.random.Generator], Iterable[Batch]]:
        """The backbone's own; the means over hops of ``train`` are made here."""
        if self._text is not None:
            graph, items = train.matrix(), self._text.rows("items")
            users = self._text.rows("users") if backbone.input_embeddings().users is not None else None
            self._hops = {"items": hop_means(graph.T.tocsr(), items, users)}
            if users is not None:
                self._hops["users"] = hop_means(graph, users, items)
        return super().batches(backbone, train, fit)

    def inputs(self, inputs: Embeddings, text: Text | None) -> Embeddings:
        """ID vectors plus the tower's rows; for users too if the backbone has a user table."""
        return plus_texts(inputs, text, "gal-style", lambda texts, side: self.tower(texts))

    def forward(
        self, encode: Encode, inputs: Embeddings, text: Text | None, batch: Batch
    ) -> tuple[Encoded, dict[str, Tensor]]:
        """The batch encoded from the sums, and ``one_hop`` and ``two_hop`` of its users and its items."""
        source = needed(text, "gal-style")
        encoded = encode(self.inputs(inputs, text), batch)
        indices: dict[Side, Tensor] = {"items": present(batch.positives), "users": batch.users}
        return encoded, summed(self._side(side, source, indices[side].unique()) for side in self._hops)

    def _side(self, side: Side, text: Text, nodes: Tensor) -> dict[str, Tensor]:
        """The weighted losses of distinct nodes (n,); their rows join the queue in training."""
        hops, config = self._hops[side], self.config
        nodes = nodes[chosen(len(nodes), config.max_nodes, nodes.device)]
        own = self.tower(text.rows(side, nodes))
        queue = enqueue(self.get_buffer(f"{side}_nodes"), self.get_buffer(f"{side}_keys"), nodes, own)
        if self.training:
            for name, value in zip(("nodes", "keys"), queue, strict=True):
                setattr(self, f"{side}_{name}", value)
        weights = {ONE_HOP: config.one_hop_weight, TWO_HOP: config.two_hop_weight}
        return hop_contrasts(own, nodes, hops, lambda _, means: self.tower(means), queue, weights, config.temperature)
