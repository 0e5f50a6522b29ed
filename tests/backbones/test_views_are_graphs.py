"""Whatever a graph model propagates over while training is a graph: no weight above 1, both directions alike, and a
node that lost every edge gets nothing. Sparse worlds, where most nodes have one edge or none left."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interlingua.backbones.autocf import mask
from interlingua.backbones.dccf import adaptive
from interlingua.backbones.sgl import Sgl, SglConfig
from interlingua.data.interactions import Interactions
from interlingua.nn.graph import Graph, bipartite, propagate

USERS, ITEMS = 25, 20
SETTINGS = list(product(("edge-drop", "node-drop", "random-walk"), (True, False)))


def sparse(seed: int) -> Interactions:
    rng = np.random.default_rng(seed)
    pairs = np.unique(rng.integers(0, [USERS, ITEMS], (int(rng.integers(1, 50)), 2)), axis=0)
    names = [np.array([f"{side}{n}" for n in range(count)]) for side, count in (("u", USERS), ("i", ITEMS))]
    return Interactions.of(names[0], names[1], pairs[:, 0], pairs[:, 1])


def check(graph: Graph, weights: torch.Tensor) -> None:
    assert float(weights.min()) >= 0
    assert float(weights.max()) <= 1 + 1e-6
    assert torch.allclose(weights, weights[graph.opposite], atol=1e-7)
    lonely = torch.zeros(graph.num_nodes).index_add_(0, graph.sources, (weights > 0).float()) == 0
    assert not propagate(graph, torch.ones(graph.num_nodes, 2), weights)[lonely].any()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 0.95), st.sampled_from(SETTINGS))
def test_the_views_of_sgl(seed: int, keep: float, how: tuple[str, bool]) -> None:
    config = SglConfig(embedding_dim=4, augmentation=how[0], view_keep_rate=keep, renormalise=how[1])
    torch.manual_seed(seed)
    model = Sgl(config, sparse(seed))
    for weights in model.draw_view():
        check(model.graph, weights)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 10), st.booleans())
def test_what_autocf_has_not_hidden(seed: int, seeds: int, loops: bool) -> None:
    train = sparse(seed)
    graph = bipartite(train.users, train.items, USERS, ITEMS, self_loops=loops)
    torch.manual_seed(seed)
    masked = mask(graph, torch.randperm(graph.num_nodes)[:seeds], 2, 0.2)
    check(graph, masked.weights)
    check(masked.decoder, masked.decoder.weights)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_the_adaptive_edges_of_dccf_average(seed: int) -> None:
    """Ends that point apart have a likeness of zero, give or take a rounding: the mean stays among the neighbours."""
    train = sparse(seed)
    graph = bipartite(train.users, train.items, USERS, ITEMS)
    torch.manual_seed(seed)
    sign = torch.where(torch.rand(graph.num_nodes, 1) < 0.5, 1.0, -1.0)
    view = sign * torch.randn(1, 3) * torch.rand(graph.num_nodes, 1)
    out = adaptive(graph, torch.rand(graph.num_nodes, 2), view)
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1 + 1e-5
