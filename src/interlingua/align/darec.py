"""DaRec, reconstructed: only a shared part of both spaces is aligned, by its structure; each keeps a part of its own.

Yang et al., "DaRec: A Disentangled Alignment Framework for Large Language Model and Recommender System", ICDE 2025,
arXiv 2408.08231. Four networks divide the backbone's vectors and the texts into shared and specific parts. Specific
parts must be orthogonal to the shared ones and spread out; the shared parts of both spaces must have the same
similarities between all pairs (global) and the same clusters (local). These losses are added to the backbone's own;
scores are the backbone's alone: no text at serving.

Shape key: n rows, D backbone width, T text width, K clusters.

**Reconstruction:** neither the paper's full text nor any code of the authors could be read. The division into parts,
orthogonality and uniformity follow public reviews that show the formulas; what "global" and "local" mean is known in
words alone. Ours are therefore: the networks (two layers, as RLMRec's), the same four for users and items; users and
items never in one similarity matrix; the mean squared difference of cosines; K-means on all rows once an epoch, centres
as means of the batch's rows, matched by the Hungarian method; equal weights; K = 4 and weight 0.1 from memory.

**Deviation:** sequence models have no user table, so only their items are aligned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from interlingua.align._both_sides import summed, texts_for
from interlingua.align._profile_map import need_users, needed, present, profile_map
from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner, Encode
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded, Side
from interlingua.contracts.text import Text
from interlingua.data.interactions import Interactions
from interlingua.nn.contrast import chosen, gather
from interlingua.nn.structure import centre_gap, clusters, similarity_gap, squared_cosine, uniformity


class DaRecConfig(Config):
    """Options of :class:`DaRec`."""

    weight: float = Field(0.1, ge=0)
    """of all four losses together"""
    orthogonal_weight: float = Field(1.0, ge=0)
    """of the squared cosines between specific and shared parts"""
    uniform_weight: float = Field(1.0, ge=0)
    """of the uniformity of the specific parts"""
    global_weight: float = Field(1.0, ge=0)
    """of the difference of similarities between the shared parts"""
    local_weight: float = Field(1.0, ge=0)
    """of the difference of cluster centres between the shared parts"""
    num_clusters: int = Field(4, ge=1)
    """K, of each side in each space"""
    max_nodes: int = Field(4096, ge=2)
    """at most so many random users and as many items of a batch are compared with each other"""
    fit: FitConfig | None = None
    """training; None: the backbone's own"""


class DaRec(Aligner):
    """Losses between the structures of the backbone's vectors and of texts."""

    Config = DaRecConfig
    reads = frozenset({"text.items", "text.user_table"})
    trains_backbone = True

    def __init__(self, config: DaRecConfig, backbone_dim: int, text_dim: int) -> None:
        super().__init__(config, backbone_dim, text_dim)
        self.vector_shared = profile_map(backbone_dim, backbone_dim)
        self.vector_specific = profile_map(backbone_dim, backbone_dim)
        self.text_shared = profile_map(text_dim, backbone_dim)
        self.text_specific = profile_map(text_dim, backbone_dim)
        self._labels: dict[Side, tuple[Tensor, Tensor]] = {}

    def start(self, backbone: Backbone, text: Text | None) -> None:
        """Looks whether there are the texts that it reads."""
        texts_for(backbone, text, "darec")

    def batches(
        self, backbone: Backbone, train: Interactions, fit: FitConfig
    ) -> Callable[[int, np.random.Generator], Iterable[Batch]]:
        """The backbone's own; with each epoch the clusters are found anew."""
        drawn = super().batches(backbone, train, fit)

        def make(epoch: int, generator: np.random.Generator) -> Iterable[Batch]:
            self._labels = {}
            return drawn(epoch, generator)

        return make

    def forward(
        self, encode: Encode, inputs: Embeddings, text: Text | None, batch: Batch
    ) -> tuple[Encoded, dict[str, Tensor]]:
        """The encoded batch, and ``orthogonal``, ``uniform``, ``global`` and ``local`` of its users and its items."""
        source = needed(text, "darec")
        encoded = encode(inputs, batch)
        targets = [batch.positives] if batch.negatives is None else [batch.positives, batch.negatives]
        items = torch.cat([present(indices) for indices in targets])
        sides: list[tuple[Side, Tensor, Tensor]] = [("items", encoded.tables.items, items)]
        if encoded.tables.users is not None:
            need_users(source, "darec")
            sides.append(("users", encoded.tables.users, batch.users))
        sums = summed(self._side(side, table, source, indices) for side, table, indices in sides)
        c = self.config
        weights = {
            "orthogonal": c.orthogonal_weight, "uniform": c.uniform_weight,
            "global": c.global_weight, "local": c.local_weight,
        }  # fmt: skip
        return encoded, {name: c.weight * weights[name] * value for name, value in sums.items() if weights[name]}

    def _side(self, side: Side, table: Tensor, text: Text, indices: Tensor) -> dict[str, Tensor]:
        """The losses of the batch's users or items, each once; none where there is only one of them."""
        nodes = indices.unique()
        nodes = nodes[chosen(len(nodes), self.config.max_nodes, nodes.device)]
        if len(nodes) < 2:
            return {}
        vectors, texts = gather(table, nodes), text.rows(side, nodes)
        shared, text_shared = self.vector_shared(vectors), self.text_shared(texts)
        own, text_own = self.vector_specific(vectors), self.text_specific(texts)
        labels, text_labels = self._clusters(side, table, text)
        return {
            "orthogonal": squared_cosine(own, shared) + squared_cosine(text_own, text_shared),
            "uniform": uniformity(own) + uniformity(text_own),
            "global": similarity_gap(shared, text_shared),
            "local": centre_gap(shared, text_shared, labels[nodes], text_labels[nodes]),
        }

    @torch.no_grad()
    def _clusters(self, side: Side, table: Tensor, text: Text) -> tuple[Tensor, Tensor]:
        """Clusters (n,) of all users or items by the shared parts of their vectors, and by those of their texts."""
        if side not in self._labels:
            parts = (self.vector_shared(table), self.text_shared(text.rows(side)))
            found = [clusters(part, self.config.num_clusters) for part in parts]
            self._labels[side] = found[0], found[1]
        return self._labels[side]
