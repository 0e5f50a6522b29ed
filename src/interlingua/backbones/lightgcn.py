"""LightGCN: user and item vectors smoothed over the interaction graph, without weights or activations (He et al. 2020).

``E^(k+1) = D^-1/2 A D^-1/2 E^(k)`` (arXiv 2002.02126, eq. 8), the layers averaged (eq. 4 with weights 1 / (K + 1)),
trained by BPR with an L2 term on the batch's input vectors (eq. 15).

Shape key: U users, I items, N = U + I nodes, B rows, D width, K layers.

**Deviations:**
- ``layers = "sum"`` (RLMRec's code adds the layers up), ``keep_rate`` < 1 (it drops entries of the matrix while
  training, without rescaling) and ``fit.weight_decay`` (it regularises *all* parameters; twice its ``reg_weight``) are
  options.
- ``loss = "softmax"`` is AlphaRec's loss (arXiv 2407.05441), an option so that it can be measured without texts.
- Users unseen in training are folded in by one ridge regression on the item vectors; the paper does not treat them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from interlingua.config import Config, FitConfig
from interlingua.contracts.added import AddedItems
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.nn import losses
from interlingua.nn.contrast import gather, unit
from interlingua.nn.graph import as_nodes, as_tables, bipartite, drop_edges, propagate
from interlingua.nn.histories import fold_in
from interlingua.training.batches import Negatives, pair_batches


class LightGcnConfig(Config):
    """Options of :class:`LightGcn`."""

    embedding_dim: int = Field(64, ge=1)
    """D (paper: 64; RLMRec: 32)"""
    num_layers: int = Field(3, ge=0)
    """K propagations (paper: 3)"""
    layers: Literal["mean", "sum"] = "mean"
    """how the K + 1 layers become one vector: ``mean`` (paper) or ``sum`` (RLMRec's code)"""
    keep_rate: float = Field(1.0, gt=0, le=1)
    """share of the matrix's entries that a training step keeps, each direction of an edge drawn by itself and nothing
    rescaled (paper: 1; RLMRec's code: 0.8)"""
    l2: float = Field(1e-4, ge=0)
    """weight of the mean over the batch of ``(|e_u|^2 + |e_i|^2 + |e_j|^2) / 2`` of the input vectors (paper: 1e-4)"""
    loss: Literal["bpr", "softmax"] = "bpr"
    """``softmax``: cross-entropy of the positive among sampled negatives by cosine, AlphaRec's loss"""
    num_negatives: int = Field(256, ge=1)
    """sampled negatives of ``softmax``, shared by the batch (AlphaRec: 256)"""
    softmax_temperature: float = Field(0.15, gt=0)
    """of ``softmax`` (AlphaRec: 0.15 or 0.2)"""
    fold_in_weight: float = Field(default=0.01, ge=0)
    """unseen users: weight of an absent item against 1 for a present one"""
    fold_in_l2: float = Field(default=0.1, ge=0)
    """unseen users: ridge weight"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=2048, epochs=1000, evaluate_every=5, patience=10)
    """training"""


class LightGcn(Backbone):
    """Dot products of propagated user and item vectors. The other graph backbones here derive from it."""

    Config: ClassVar[type[Config]] = LightGcnConfig
    sampling = "pairs"

    @classmethod
    def self_loops(cls, config: Any) -> bool:
        """Whether the graph has an edge from every node to itself."""
        return False

    def __init__(self, config: Any, train: Interactions) -> None:
        super().__init__(config, train)
        self.users = nn.Parameter(nn.init.xavier_uniform_(torch.empty(train.num_users, config.embedding_dim)))
        self.items = nn.Parameter(nn.init.xavier_uniform_(torch.empty(train.num_items, config.embedding_dim)))
        loops = self.self_loops(config)
        self.graph = bipartite(train.users, train.items, train.num_users, train.num_items, self_loops=loops)
        self.register_buffer("final_items", None)
        self._final: Embeddings | None = None
        self._added: Tensor | None = None
        """(n, D') of items that came after training"""

    final_items: Tensor | None
    """(I, D') item vectors of a model saved without its graph; else None, and nothing is stored"""

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Every training pair once an epoch, with one uniform negative that the user does not have."""
        source = Negatives(train)

        def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
            self.begin_epoch()
            return pair_batches(train, fit, generator, negatives=source)

        return make

    def begin_epoch(self) -> None:
        """Called before each training epoch, to draw new views of the graph."""

    def extended(self, added: AddedItems) -> LightGcn | None:
        """An item without an event is a node without an edge; strangers are folded in on all final vectors."""
        if added.inputs is None and added.items is None:
            return None
        other = self.longer(added)
        other._added = added.items if added.inputs is None else self._alone(added, added.inputs)
        return other

    @torch.no_grad()
    def _alone(self, added: AddedItems, inputs: Tensor) -> Tensor:
        """(n, D') final vectors of nodes without an edge."""
        none, other = np.zeros(0, np.int32), self.longer(added)
        other.graph = bipartite(none, none, 1, len(inputs), self_loops=self.self_loops(self.config))
        return other.infer(Embeddings(inputs.new_zeros(1, inputs.shape[1]), inputs)).items

    def input_embeddings(self) -> Embeddings:
        """The input vectors, before propagation."""
        return Embeddings(self.users, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """All nodes propagated, the batch's users looked up."""
        if not self.training and inputs.items is self.items and not self.items.requires_grad:
            return self.encoded(self.final(), batch, private=inputs)  # frozen: propagated once, not in every step
        weights = self._thinned() if self._drops() else None
        return self.encoded(self.smooth(inputs, weights), batch, private=inputs)

    def encoded(self, tables: Embeddings, batch: Batch, private: Any) -> Encoded:
        """The batch's view of propagated tables."""
        assert tables.users is not None
        return Encoded(tables, gather(tables.users, batch.users), private)

    def smooth(self, inputs: Embeddings, weights: Tensor | None = None) -> Embeddings:
        """Final vectors from input vectors, over the graph's own edge weights or the given ones (E,)."""
        layer = total = as_nodes(inputs)
        for _ in range(self.config.num_layers):
            layer = propagate(self.graph, layer, weights)
            total = total + layer
        if self.config.layers == "mean":
            total = total / (self.config.num_layers + 1)
        return as_tables(self.graph, total)

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """``bpr``, and ``l2`` on the batch's input vectors if it has a weight."""
        return self.pair_losses(encoded, batch, encoded.private)

    def pair_losses(self, encoded: Encoded, batch: Batch, inputs: Embeddings) -> dict[str, Tensor]:
        """The losses that all graph backbones share (see :meth:`losses`)."""
        assert batch.negatives is not None
        negatives = batch.negatives.reshape(len(batch), -1)[:, 0]
        if self.config.loss == "softmax":
            out = {"softmax": self._softmax(encoded, batch)}
        else:
            positive = (encoded.query * gather(encoded.tables.items, batch.positives)).sum(-1)
            negative = (encoded.query * gather(encoded.tables.items, negatives)).sum(-1)
            out = {"bpr": losses.bpr(positive, negative)}
        if self.config.l2:
            assert inputs.users is not None
            users, items = gather(inputs.users, batch.users), inputs.items
            squared = users.square() + gather(items, batch.positives).square() + gather(items, negatives).square()
            out["l2"] = self.config.l2 / 2 * squared.sum(-1).mean()
        return out

    def _softmax(self, encoded: Encoded, batch: Batch) -> Tensor:
        """Cross-entropy by cosine against the positive and items drawn for the whole batch."""
        items = encoded.tables.items
        drawn = torch.randint(len(items), (self.config.num_negatives,), device=items.device)
        query, temperature = unit(encoded.query), self.config.softmax_temperature
        positive = (query * unit(gather(items, batch.positives))).sum(-1)
        return losses.sampled_softmax(positive / temperature, query @ unit(gather(items, drawn)).T / temperature)

    def _drops(self) -> bool:
        return self.training and self.config.keep_rate < 1

    def _thinned(self) -> Tensor:
        return drop_edges(self.graph, self.config.keep_rate, symmetric=False)

    def train(self, mode: bool = True) -> LightGcn:
        """Final vectors are kept between evaluations and forgotten when training goes on."""
        self._final = None
        super().train(mode)
        return self

    def final(self) -> Embeddings:
        """All nodes propagated over the whole graph; behind them items that came after training."""
        own = self._propagated()
        if self._added is None:
            return own
        return Embeddings(own.users, torch.cat([own.items, self._added.to(own.items)]))

    @torch.no_grad()
    def _propagated(self) -> Embeddings:
        """Computed once per state of the weights."""
        if self.final_items is not None:
            return Embeddings(self.final_items.new_zeros(self.num_users, self.final_items.shape[1]), self.final_items)
        if self._final is None or self.training:
            self._final = self.infer(self.input_embeddings())
        return self._final

    def infer(self, inputs: Embeddings) -> Embeddings:
        """Computes :meth:`final`: propagation without anything random; unit vectors if cosines were trained."""
        tables = self.smooth(inputs)
        if self.config.loss == "bpr":
            return tables
        assert tables.users is not None
        return Embeddings(unit(tables.users), unit(tables.items))

    def given_away(self) -> dict[str, Tensor]:
        """Adds the propagated item vectors: histories are folded in on them, and nothing reads the graph."""
        return super().given_away() | {"final_items": self.final().items}

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        self._final = None  # new weights have new final vectors
        given = state_dict.get(f"{prefix}final_items")
        self.final_items = None if given is None else torch.empty_like(given, device=self.items.device)
        super()._load_from_state_dict(state_dict, prefix, *args)

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """Propagated vectors of known users, folded-in ones of unknown users."""
        tables = self.final()
        assert tables.users is not None
        who = torch.as_tensor(queries.users, device=tables.users.device)
        out = tables.users[who.clamp(min=0)].clone()
        unknown = np.flatnonzero(np.asarray(queries.users) < 0)
        if len(unknown):
            indices = torch.from_numpy(unknown).to(out.device)
            some, learned = queries.take(unknown), self.items.shape[0]
            out[indices] = fold_in(tables.items, some, self.config.fold_in_weight, self.config.fold_in_l2, learned)
        return out

    def item_embeddings(self) -> Tensor:
        """(I, D) propagated item vectors."""
        return self.final().items
