"""The user-item graph: its pattern, its weights, and propagation beside a dense matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interlingua.contracts.batch import Embeddings
from interlingua.nn.graph import (
    Graph,
    as_nodes,
    as_tables,
    bipartite,
    drop_edges,
    drop_nodes,
    edge_dot,
    propagate,
    random_graph,
    symmetric_weights,
)

USERS, ITEMS = 7, 5


@pytest.fixture
def graph() -> Graph:
    rng = np.random.default_rng(0)
    return bipartite(rng.integers(0, USERS, 20), rng.integers(0, ITEMS, 20), USERS, ITEMS)


def dense(graph: Graph, weights: torch.Tensor | None = None) -> torch.Tensor:
    """(N, N) the matrix that a weighted pattern stands for."""
    values = graph.weights if weights is None else weights
    return torch.zeros(graph.num_nodes, graph.num_nodes).index_put((graph.sources, graph.targets), values)


def test_weights_are_the_normalised_adjacency_of_the_distinct_pairs() -> None:
    graph = bipartite(np.array([0, 0, 1, 0]), np.array([0, 1, 1, 1]), 2, 3)  # (0, 1) twice
    adjacency = torch.zeros(5, 5)
    for user, item in ((0, 0), (0, 1), (1, 1)):
        adjacency[user, 2 + item] = adjacency[2 + item, user] = 1
    degrees = adjacency.sum(1).clamp_min(1)  # item 2 has no event: its row stays empty
    expected = adjacency / (degrees[:, None] * degrees[None]).sqrt()
    assert torch.allclose(dense(graph), expected)
    assert graph.num_edges == 6


def test_self_loops_count_in_the_degrees() -> None:
    graph = bipartite(np.array([0]), np.array([0]), 1, 2, self_loops=True)
    assert torch.allclose(dense(graph), torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1.0]]))


def test_opposite_edges_are_found(graph: Graph) -> None:
    assert torch.equal(graph.sources[graph.opposite], graph.targets)
    assert torch.equal(graph.targets[graph.opposite], graph.sources)


@pytest.mark.parametrize("own", [True, False])
def test_propagation_and_its_gradients_equal_the_dense_product(graph: Graph, own: bool) -> None:
    torch.manual_seed(0)
    nodes = torch.randn(graph.num_nodes, 3, requires_grad=True)
    weights = graph.weights.clone() if own else torch.rand(graph.num_edges)  # the latter are not symmetric
    weights.requires_grad_(True)
    goal = torch.randn(graph.num_nodes, 3)
    ours = propagate(graph, nodes, weights)
    theirs = dense(graph, weights) @ nodes
    assert torch.allclose(ours, theirs, atol=1e-6)
    mine = torch.autograd.grad((ours * goal).sum(), (nodes, weights))
    slow = torch.autograd.grad((theirs * goal).sum(), (nodes, weights))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(mine, slow, strict=True))


def test_propagation_over_its_own_weights_has_the_transposed_gradient(graph: Graph) -> None:
    nodes = torch.randn(graph.num_nodes, 2, requires_grad=True)
    goal = torch.randn(graph.num_nodes, 2)
    (mine,) = torch.autograd.grad((propagate(graph, nodes) * goal).sum(), nodes)
    assert torch.allclose(mine, dense(graph).T @ goal, atol=1e-6)


def test_edge_dot_and_its_gradients(graph: Graph) -> None:
    torch.manual_seed(1)
    left, right = (torch.randn(graph.num_nodes, 3, requires_grad=True) for _ in range(2))
    goal = torch.randn(graph.num_edges)
    ours, theirs = edge_dot(graph, left, right), (left[graph.sources] * right[graph.targets]).sum(1)
    assert torch.allclose(ours, theirs, atol=1e-6)
    mine = torch.autograd.grad((ours * goal).sum(), (left, right))
    slow = torch.autograd.grad((theirs * goal).sum(), (left, right))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(mine, slow, strict=True))


def test_dropped_edges_keep_their_share_and_their_weights() -> None:
    rng = np.random.default_rng(0)
    graph = bipartite(rng.integers(0, 300, 9000), rng.integers(0, 200, 9000), 300, 200)
    torch.manual_seed(0)
    kept = drop_edges(graph, 0.7, symmetric=False)
    assert float((kept > 0).float().mean()) == pytest.approx(0.7, abs=0.02)
    assert torch.equal(kept[kept > 0], graph.weights[kept > 0])
    both = drop_edges(graph, 0.7) > 0
    assert torch.equal(both, both[graph.opposite])
    assert not torch.equal(kept > 0, (kept > 0)[graph.opposite])


def test_renormalised_views_follow_their_own_degrees(graph: Graph) -> None:
    torch.manual_seed(3)
    view = drop_edges(graph, 0.6, renormalise=True)
    again = symmetric_weights(graph, (view > 0).float())
    assert torch.allclose(view, again)
    assert bool(torch.isfinite(view).all())


@given(seed=st.integers(0, 10_000), keep=st.floats(0.05, 1.0), symmetric=st.booleans())
def test_no_weight_of_a_renormalised_view_exceeds_one_and_lonely_nodes_get_nothing(
    seed: int, keep: float, symmetric: bool
) -> None:
    """Sparse graphs, where many nodes lose every edge; both ends' degrees are those of the view."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 60))
    graph = bipartite(rng.integers(0, 30, size), rng.integers(0, 20, size), 30, 20, self_loops=bool(seed % 2))
    torch.manual_seed(seed)
    for view in (
        drop_edges(graph, keep, renormalise=True, symmetric=symmetric), drop_nodes(graph, keep, renormalise=True)
    ):  # fmt: skip
        assert bool((view >= 0).all())
        assert float(view.max()) <= 1 + 1e-6
        kept = view > 0
        leaving, reaching = (
            torch.zeros(graph.num_nodes).index_add_(0, ends, kept.float()) for ends in (graph.sources, graph.targets)
        )
        expected = kept / (leaving[graph.sources] * reaching[graph.targets]).clamp_min(1).sqrt()
        assert torch.allclose(view, expected, atol=1e-6)
        moved = propagate(graph, torch.ones(graph.num_nodes, 1), view)[:, 0]
        assert bool((moved[leaving == 0] == 0).all())
    undirected = drop_edges(graph, keep, renormalise=True)
    assert torch.equal(undirected, undirected[graph.opposite])


def test_a_dropped_node_loses_all_its_edges(graph: Graph) -> None:
    torch.manual_seed(5)
    view = drop_nodes(graph, 0.5)
    alive = torch.zeros(graph.num_nodes, dtype=torch.bool)
    alive[graph.sources[view > 0]] = True
    between = alive[graph.sources] & alive[graph.targets]
    assert bool((view[between] > 0).all())
    assert 0 < int((view > 0).sum()) < graph.num_edges


def test_a_random_graph_is_symmetric_without_duplicates(graph: Graph) -> None:
    made = random_graph(torch.tensor([0, 3, 3, 1]), torch.tensor([4, 3, 3, 0]), graph)
    pairs = set(zip(made.sources.tolist(), made.targets.tolist(), strict=True))
    assert pairs == {(0, 4), (4, 0), (3, 3), (1, 0), (0, 1)}


def test_nodes_and_tables_are_inverse(graph: Graph) -> None:
    tables = Embeddings(torch.randn(USERS, 2), torch.randn(ITEMS, 2))
    back = as_tables(graph, as_nodes(tables))
    assert back.users is not None
    assert torch.equal(back.users, tables.users)
    assert torch.equal(back.items, tables.items)


def test_half_precision_is_taken_to_the_weights_own(graph: Graph) -> None:
    """What a matrix product hands over under autocast."""
    nodes = torch.randn(graph.num_nodes, 3).to(torch.bfloat16).requires_grad_()
    assert torch.equal(propagate(graph, nodes), propagate(graph, nodes.float()))
    dots = edge_dot(graph, nodes, nodes)
    assert torch.equal(dots, edge_dot(graph, nodes.float(), nodes.float()))
    (dots.sum() + propagate(graph, nodes).sum()).backward()
    assert nodes.grad is not None
    assert nodes.grad.dtype == torch.bfloat16
