"""The base class of models over a session's item graph: every event but the first is a target, after those before it.

Shape key: B rows, L positions, D width, I items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.backbones._shifted import by_length, last_state, shift
from interlingua.config import Config, FitConfig
from interlingua.contracts.added import AddedItems
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.nn import losses
from interlingua.nn.session_graph import Edges, GatedGraph, at_nodes, session_graphs
from interlingua.training.batches import last_position_batches


class SessionGraphOptions(Config):
    """Options that these models share."""

    embedding_dim: int = Field(64, ge=1)
    """D (papers: 100)"""
    max_history: int = Field(20, ge=1)
    """L, last events of a history that make its graph (papers: all of a short session)"""
    steps: int = Field(1, ge=0)
    """steps of the gated graph network (papers: 1); 0: none, which is the control without a graph"""
    edges: Edges = "counted"
    """``counted``: an edge weighs as often as it occurs (paper); ``once``: alike (the code of SR-GNN)"""
    dropout: float = Field(0.0, ge=0, lt=1)
    """on item inputs (papers: none)"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, weight_decay=1e-5, batch_size=100, epochs=30, patience=5)
    """training (papers: Adam, 1e-3, a tenth of it after every third epoch, L2 1e-5, batches of 100, 30 epochs)"""


class SessionGraphBackbone(Backbone):
    """A gated graph network over each history's graph; a subclass writes :meth:`read_out`.

    Scores are dot products with the item table that is also the input.
    """

    sampling = "sequences"
    draws_negatives = False

    def __init__(self, config: Any, train: Interactions) -> None:
        super().__init__(config, train)
        dim = config.embedding_dim
        self.items = nn.Parameter(torch.empty(train.num_items, dim).uniform_(-(dim**-0.5), dim**-0.5))
        self.graph = GatedGraph(dim, config.steps) if config.steps else None

    def read_out(self, states: Tensor, last: Tensor, real: Tensor) -> Tensor:
        """(B, D) what scores, from node states (B, L, D) by position, the last one (B, D) and which are real (B, L)."""
        raise NotImplementedError

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Every event but a user's first, after the events before it."""

        def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
            return last_position_batches(
                train, self.config.max_history, fit.batch_size, generator, num_negatives=0, all_positions=True
            )

        return make

    def extended(self, added: AddedItems) -> SessionGraphBackbone | None:
        """An item without an event is its input, in histories too."""
        return self.with_inputs(added)

    def input_embeddings(self) -> Embeddings:
        """The item embeddings; there is no user table."""
        return Embeddings(None, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """What scores the batch's histories (B, D), and the item table."""
        if batch.histories is None:
            raise ConfigError(
                f"{type(self).__name__} needs batches with histories and one target each: use last_position_batches"
            )
        return Encoded(inputs, self.sessions(inputs.items, batch.histories))

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy over all items of the rows' targets (B,)."""
        return {"ce": losses.full_softmax(encoded.query, encoded.tables.items, batch.positives)}

    def sessions(self, table: Tensor, histories: Tensor) -> Tensor:
        """(B, D) what scores after histories.

        Args:
            table: (I, D) item inputs.
            histories: (B, n) left-padded rows of any width; their last ``max_history`` events are read.
        """
        states, lengths, real = self.node_states(table, histories)
        last = last_state(states, lengths) * (lengths > 0)[:, None]
        return self.read_out(states, last, real)

    def node_states(self, table: Tensor, histories: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, L, D) states of each position's node, (B,) lengths, (B, L) bool: positions that hold an event.

        A row's first event is at column 0. Arguments: see :meth:`sessions`.
        """
        shifted = shift(histories, self.config.max_history)
        x = functional.dropout(functional.embedding(shifted.indices, table), self.config.dropout, self.training)
        graphs = session_graphs(shifted.indices, shifted.real, self.config.edges)
        x = at_nodes(x, graphs.nodes)  # an item that occurs twice has one input, also where dropout changed it
        if self.graph is not None:
            x = at_nodes(self.graph(x, graphs), graphs.nodes)
        return x * shifted.real[..., None], shifted.lengths, shifted.real

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, D) what scores any histories; those of similar length are read together."""
        self.at_rest()
        out = self.items.new_empty(len(queries), self.items.shape[1])
        return by_length(queries, self.config.max_history, out, lambda histories: self.sessions(self.items, histories))

    def item_embeddings(self) -> Tensor:
        """(I, D) item embeddings."""
        return self.items.detach()
