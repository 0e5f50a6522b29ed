"""AutoCF: a masked graph autoencoder that learns which neighbourhoods to hide (Xia et al. 2023).

WWW 2023, arXiv 2303.07797; HKUDS/AutoCF. Every ``mask_every`` steps, nodes whose vectors agree with the mean of their
neighbourhood are drawn as seeds, and all edges within ``mask_depth`` hops of them are hidden. Two graph convolutions
run over the remaining edges (the encoder), then graph attention over these and random pairs of the hidden nodes (the
decoder); the input and all layers are added up. Training reconstructs pairs: ``-mean(u . i)``, against the mean
``log sum exp`` of products of the batch's users with all items, of its distinct users with all users, and of its
distinct positives with all items. Steps that draw a mask also train the agreement. Recommending uses the whole graph in
both places.

Shape key: U users, I items, N = U + I nodes, E directed edges, B rows, D width.

**Deviations:**
- Every pair of the batch is reconstructed, not only the hidden ones: as in the authors' code, which they equate with
  the paper's reconstruction loss (github.com/HKUDS/AutoCF/issues/22). Their code's sizes are the defaults.
- The agreement is computed with the authors' arithmetic (see :func:`agreement`); the Gumbel noise of the draw is
  left out of its loss, where it is a constant.
- RLMRec's code has no self loops (``self_loops = False``) and larger contrasts; L2 over all parameters is
  ``fit.weight_decay``, twice the authors' ``reg``.
- With an aligner that masks input vectors, the agreement is that of the masked vectors.
- Users unseen in training are folded in by one ridge regression on the item vectors; the paper does not treat them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.backbones._heads import WithHeads
from interlingua.backbones.lightgcn import LightGcn
from interlingua.config import Config, FitConfig
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.data.interactions import Interactions
from interlingua.nn.contrast import chosen, distinct, gather, log_partition
from interlingua.nn.graph import Graph, as_nodes, as_tables, propagate, random_graph, symmetric_weights
from interlingua.nn.graph_attention import attend

LOGIT_LIMIT = 10.0
"""attention logits are clipped here, as in the authors' code"""


class AutoCfConfig(WithHeads):
    """Options of :class:`AutoCf`."""

    embedding_dim: int = Field(32, ge=1)
    """D (paper: 32)"""
    num_layers: int = Field(2, ge=0)
    """graph convolutions of the encoder (the authors' code: 2)"""
    num_attention_layers: int = Field(1, ge=1)
    """graph attention layers of the decoder (the authors' code: 1)"""
    num_heads: int = Field(4, ge=1)
    """heads of each attention layer, a divisor of D (the authors' code: 4)"""
    num_seeds: int = Field(100, ge=1)
    """nodes whose neighbourhoods are hidden (the authors' code: 100)"""
    mask_depth: int = Field(2, ge=1)
    """hops of edges around a seed that are hidden (the authors' code: 2)"""
    sample_rate: float = Field(0.2, ge=0, le=1)
    """random nodes, as a fraction of N, that join the hidden ones in the decoder's pairs (the authors' code: 0.2)"""
    mask_every: int = Field(10, ge=1)
    """steps on the same mask (the authors' code: 10)"""
    cl_weight: float = Field(1.0, ge=0)
    """weight of the contrast among users and among items (the authors' code: 1; RLMRec: 0.5 to 5)"""
    contrast_anchors: int | None = Field(None, ge=1)
    """at most so many random users, and items, of a batch are told from all nodes: the same loss in expectation, in a
    fraction of the time (None: all)"""
    infomax_weight: float = Field(1.0, ge=0)
    """weight of the agreement of nodes with their neighbourhoods (the authors' code: 1)"""
    self_loops: bool = True
    """the graph has an edge from every node to itself (the authors' code; not RLMRec's)"""
    fold_in_weight: float = Field(default=0.01, ge=0)
    """unseen users: weight of an absent item against 1 for a present one"""
    fold_in_l2: float = Field(default=0.1, ge=0)
    """unseen users: ridge weight"""
    fit: FitConfig = FitConfig(
        learning_rate=1e-3, weight_decay=2e-7, batch_size=4096, epochs=1000, evaluate_every=3, patience=10
    )
    """training"""


@dataclass(frozen=True)
class Masked:
    """The graph in a training step."""

    weights: Tensor
    """(E,) weights of the whole graph's edges: 0 if hidden, the others normalised among themselves"""
    decoder: Graph
    """remaining edges, self loops, and random pairs of hidden nodes"""


def agreement(graph: Graph, nodes: Tensor) -> Tensor:
    """(N,) ``sigmoid(cos(node, mean of its neighbourhood within two hops))``, differentiable.

    As in the authors' code, a step sums the neighbours and subtracts the node's own value: walks that turn back at once
    do not count, but for nodes beyond (and for graphs without self loops) this is an approximation.

    Args:
        graph: its edges are walked, each with weight 1.
        nodes: (N, D) input vectors.
    """
    ones = torch.ones_like(graph.weights)
    degrees = graph.offsets.diff().to(nodes.dtype)[:, None]
    near = propagate(graph, nodes, ones) - nodes
    far = propagate(graph, near, ones) - near - degrees * nodes
    count = (
        propagate(graph, degrees, ones) - degrees
    )  # degrees for one hop, sum of their neighbours' - 2 degrees for two
    return torch.sigmoid(functional.cosine_similarity((near + far) / (count + 1e-8), nodes))


def draw_seeds(scores: Tensor, count: int) -> Tensor:
    """``count`` different nodes, drawn with chances in proportion to ``scores`` (N,): the Gumbel top-k trick."""
    noise = -torch.empty_like(scores).exponential_().clamp_min(1e-20).log()
    return (scores.detach().clamp_min(1e-20).log() + noise).topk(min(count, len(scores))).indices


def hide(graph: Graph, seeds: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """Hides all edges at the seeds, then all edges at the nodes that these reach, and so on.

    Args:
        graph: the pattern.
        seeds: (S,) nodes.
        depth: number of rounds.

    Returns:
        (E,) whether an edge remains, and (N,) whether edges were hidden at a node.
    """
    left = torch.ones(graph.num_edges, dtype=torch.bool, device=seeds.device)
    frontier = torch.zeros(graph.num_nodes, dtype=torch.bool, device=seeds.device)
    frontier[seeds] = True
    reached = frontier.clone()
    for hop in range(depth):
        at_frontier = frontier[graph.sources] | frontier[graph.targets]
        cut = left & at_frontier
        left &= ~at_frontier
        if hop < depth - 1:
            frontier = torch.zeros_like(frontier)
            frontier[graph.sources[cut]] = True  # both directions are cut: these are both ends
            reached |= frontier
    return left, reached


def mask(graph: Graph, seeds: Tensor, depth: int, sample_rate: float) -> Masked:
    """The encoder's weights and the decoder's graph around ``seeds`` (torch's global generator)."""
    left, reached = hide(graph, seeds, depth)
    nodes, device = graph.num_nodes, seeds.device
    reached[torch.randint(nodes, (int(nodes * sample_rate),), device=device)] = True
    pool = reached.nonzero()[:, 0]
    ends = pool[torch.randint(len(pool), (2, graph.num_edges), device=device)]
    loops = torch.arange(nodes, device=device)
    once = left & (graph.sources <= graph.targets)  # the other direction is added with the pairs'
    sources = torch.cat([ends[0], loops, graph.sources[once]])
    decoder = random_graph(sources, torch.cat([ends[1], loops, graph.targets[once]]), graph)
    return Masked(symmetric_weights(graph, left.to(graph.weights.dtype)), decoder)


class Attention(nn.Module):
    """One graph attention layer: three maps without bias."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.maps = nn.ParameterList(nn.init.xavier_uniform_(torch.empty(dim, dim)) for _ in range(3))

    def forward(self, graph: Graph, nodes: Tensor) -> Tensor:
        """(N, D) new vectors of nodes (N, D)."""
        query, key, value = (nodes @ weight for weight in self.maps)
        return attend(graph, query, key, value, heads=self.heads, limit=LOGIT_LIMIT)


class AutoCf(LightGcn):
    """Dot products of users and items after the encoder and the decoder."""

    Config: ClassVar[type[Config]] = AutoCfConfig

    @classmethod
    def self_loops(cls, config: Any) -> bool:
        """As the options say."""
        return bool(config.self_loops)

    def __init__(self, config: Any, train: Interactions) -> None:
        super().__init__(config, train)
        count = config.num_attention_layers
        self.decoder = nn.ModuleList(Attention(config.embedding_dim, config.num_heads) for _ in range(count))
        self._masked: Masked | None = None
        self._draws = False

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Batches of every graph backbone; the first of every ``mask_every`` batches draws a new mask."""
        pairs = super().batches(train, fit)

        def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
            self._masked = None
            for step, batch in enumerate(pairs(epoch, generator)):
                self._draws = step % self.config.mask_every == 0
                yield batch

        return make

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """All nodes encoded and decoded: over the masked graph in training, over the whole graph otherwise."""
        if not self.training:
            return self.encoded(self.smooth(inputs), batch, private=None)
        nodes, scores = as_nodes(inputs), None
        if self._draws or self._masked is None:
            scores = agreement(self.graph, nodes)
            seeds = draw_seeds(scores, self.config.num_seeds)
            self._masked = mask(self.graph, seeds, self.config.mask_depth, self.config.sample_rate)
        tables = self._run(nodes, self._masked.weights, self._masked.decoder)
        return self.encoded(tables, batch, private=scores)

    def smooth(self, inputs: Embeddings, weights: Tensor | None = None) -> Embeddings:
        """Final vectors over the whole graph; other encoder weights (E,) may be given."""
        return self._run(as_nodes(inputs), weights, self.graph)

    def infer(self, inputs: Embeddings) -> Embeddings:
        """Final vectors for recommending: nothing hidden, nothing random."""
        return self.smooth(inputs)

    def _run(self, nodes: Tensor, weights: Tensor | None, decoder: Graph) -> Embeddings:
        layer = total = nodes
        for _ in range(self.config.num_layers):
            layer = propagate(self.graph, layer, weights)
            total = total + layer
        for attention in self.decoder:
            layer = attention(decoder, layer)
            total = total + layer
        return as_tables(self.graph, total)

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """``reconstruction``, ``contrast``, and ``infomax`` in the steps that drew a mask."""
        tables = encoded.tables
        assert tables.users is not None
        products = (encoded.query * gather(tables.items, batch.positives)).sum(dim=-1)
        (users, repeats), (items, _) = distinct(batch.users), distinct(batch.positives)
        limit = self.config.contrast_anchors
        some = chosen(len(users), limit, users.device)
        mine = gather(tables.users, users[some])
        # each chosen user stands for as many as there are for one that was chosen
        weights = repeats[some] * (len(users) / max(len(some), 1))
        contrast = log_partition(mine, tables.items, weights=weights) / max(len(batch), 1)
        if self.config.cl_weight:
            positives = gather(tables.items, items[chosen(len(items), limit, items.device)])
            own = log_partition(mine, tables.users) / max(len(mine), 1)
            own = own + log_partition(positives, tables.items) / max(len(positives), 1)
            contrast = contrast + self.config.cl_weight * own
        out = {"reconstruction": -products.mean(), "contrast": contrast}
        if encoded.private is not None and self.config.infomax_weight:
            out["infomax"] = -self.config.infomax_weight * encoded.private.log().mean()
        return out
