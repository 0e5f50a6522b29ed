"""The user-item graph as one symmetric sparse pattern, and propagation over it with a backward pass that reuses it.

Nodes are all users, then all items. The pattern holds both directions of every training pair, sorted by node, so a
propagation is one weighted bag sum per node, and its gradient is the same bag sum with every edge's weight taken from
its opposite direction: no transpose is ever built.

Shape key: U users, I items, N = U + I nodes, E directed edges, D width.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.contracts.batch import Embeddings
from interlingua.data.queries import IntArray
from interlingua.runtime.sorted_sets import distinct

__all__ = [
    "Graph", "as_nodes", "as_tables", "bag", "bipartite", "drop_edges", "drop_nodes", "edge_dot", "edge_products",
    "opposed", "propagate", "random_graph", "symmetric_weights",
]  # fmt: skip


class Graph(nn.Module):
    """A symmetric sparse pattern over the nodes, with one weight per directed edge. Has no parameter, saves nothing."""

    offsets: Tensor
    """(N + 1,) the edges of node n are ``offsets[n] : offsets[n + 1]``"""
    targets: Tensor
    """(E,) the node at each edge's other end, increasing within a node"""
    sources: Tensor
    """(E,) the node that each edge belongs to"""
    opposite: Tensor
    """(E,) where the same edge stands in the other direction (a self loop is its own)"""
    weights: Tensor
    """(E,) symmetrically normalised: 1 / sqrt(degree(source) * degree(target))"""

    def __init__(self, sources: Tensor, targets: Tensor, num_users: int, num_items: int) -> None:
        """From directed edges that come with their opposites, each once, sorted by (source, target)."""
        super().__init__()
        self.num_users, self.num_items, self.num_nodes = num_users, num_items, num_users + num_items
        degrees = torch.bincount(sources, minlength=self.num_nodes)
        offsets = torch.cat([degrees.new_zeros(1), degrees.cumsum(0)])
        # sorted by (target, source), edge k is the opposite of the k-th edge in the order (source, target)
        opposite = torch.argsort(targets * self.num_nodes + sources)
        tensors = {"offsets": offsets, "targets": targets, "sources": sources, "opposite": opposite}
        for name, value in tensors.items():
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("weights", torch.empty(0), persistent=False)
        self.weights = symmetric_weights(self, torch.ones(len(sources), device=sources.device))

    @property
    def num_edges(self) -> int:
        """E"""
        return len(self.targets)


def bipartite(users: IntArray, items: IntArray, num_users: int, num_items: int, *, self_loops: bool = False) -> Graph:
    """The graph of user-item pairs; a pair that occurs several times is one edge.

    Args:
        users: (n,) user indices.
        items: (n,) item indices.
        num_users: U
        num_items: I
        self_loops: add an edge from every node to itself (A + I) before normalisation.
    """
    nodes = num_users + num_items
    left, right = np.asarray(users, np.int64), np.asarray(items, np.int64) + num_users
    keys = [left * nodes + right, right * nodes + left]
    if self_loops:
        keys.append(np.arange(nodes, dtype=np.int64) * (nodes + 1))
    unique = torch.from_numpy(distinct(np.concatenate(keys)))
    return Graph(unique // max(nodes, 1), unique % max(nodes, 1), num_users, num_items)


def random_graph(sources: Tensor, targets: Tensor, graph: Graph) -> Graph:
    """A graph over the same nodes from any directed edges (n,): made symmetric, duplicates removed."""
    nodes = graph.num_nodes
    unique = torch.unique(torch.cat([sources * nodes + targets, targets * nodes + sources]))
    return Graph(unique // nodes, unique % nodes, graph.num_users, graph.num_items)


def as_nodes(tables: Embeddings) -> Tensor:
    """(N, D) users, then items."""
    assert tables.users is not None
    return torch.cat([tables.users, tables.items])


def as_tables(graph: Graph, nodes: Tensor) -> Embeddings:
    """Users and items of node vectors (N, D)."""
    return Embeddings(nodes[: graph.num_users], nodes[graph.num_users :])


def propagate(graph: Graph, nodes: Tensor, weights: Tensor | None = None) -> Tensor:
    """(N, D) the weighted sum of every node's neighbours: ``A @ nodes``.

    Gradients flow to ``nodes``, and to ``weights`` where they require one.

    Args:
        graph: the pattern.
        nodes: (N, D)
        weights: (E,) instead of the graph's own; they need not be symmetric.
    """
    dtype = graph.weights.dtype  # under autocast a product may hand over half precision
    chosen = graph.weights if weights is None else weights.to(dtype)
    out: Tensor = _Propagate.apply(nodes.to(dtype), chosen, graph)
    return out


class _Propagate(torch.autograd.Function):
    """``A @ x`` and ``A.T @ g`` over one pattern: 2 bag sums instead of a sparse product and its transpose."""

    @staticmethod
    def forward(ctx: Any, nodes: Tensor, weights: Tensor, graph: Graph) -> Tensor:
        ctx.graph = graph
        ctx.save_for_backward(weights, nodes if ctx.needs_input_grad[1] else None)
        return bag(graph, nodes, weights)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        weights, nodes = ctx.saved_tensors
        graph, grad = ctx.graph, grads[0].contiguous()
        d_nodes = d_weights = None
        if ctx.needs_input_grad[0]:
            # the graph's own weights are symmetric: nothing to permute
            back = weights if weights is graph.weights else opposed(graph, weights)
            d_nodes = bag(graph, grad, back)
        if ctx.needs_input_grad[1]:
            d_weights = edge_products(graph, grad, nodes)
        return d_nodes, d_weights, None


def bag(graph: Graph, nodes: Tensor, weights: Tensor) -> Tensor:
    """:func:`propagate` for use inside autograd functions: (N, D) contiguous ``nodes``, no gradient to ``weights``."""
    return functional.embedding_bag(
        graph.targets, nodes, graph.offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def opposed(graph: Graph, values: Tensor) -> Tensor:
    """(E,) every directed edge's value taken from the same edge in the other direction."""
    return values.index_select(0, graph.opposite)


def edge_dot(graph: Graph, sources: Tensor, targets: Tensor) -> Tensor:
    """(E,) dot product of each edge's source row of ``sources`` (N, D) with its target row of ``targets`` (N, D).

    Gradients flow to both tables, as bag sums.
    """
    dtype = graph.weights.dtype
    out: Tensor = _EdgeDot.apply(sources.to(dtype), targets.to(dtype), graph)
    return out


class _EdgeDot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sources: Tensor, targets: Tensor, graph: Graph) -> Tensor:
        ctx.graph = graph
        ctx.save_for_backward(sources, targets)
        return edge_products(graph, sources, targets)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        sources, targets = ctx.saved_tensors
        graph, grad = ctx.graph, grads[0].contiguous()
        d_sources = bag(graph, targets, grad) if ctx.needs_input_grad[0] else None
        d_targets = bag(graph, sources, opposed(graph, grad)) if ctx.needs_input_grad[1] else None
        return d_sources, d_targets, None


def edge_products(graph: Graph, sources: Tensor, targets: Tensor) -> Tensor:
    """:func:`edge_dot` for use inside autograd functions, without gradients.

    A dense product sampled at the pattern: 10 ms at E = 500,000 and D = 32, where gathering rows takes 200.
    """
    if sources.device.type not in ("cpu", "cuda"):
        return (sources.index_select(0, graph.sources) * targets.index_select(0, graph.targets)).sum(dim=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls this layout a beta; its dot products are tested here
        pattern = torch.sparse_csr_tensor(
            graph.offsets, graph.targets, torch.zeros_like(graph.weights),
            (graph.num_nodes, graph.num_nodes), check_invariants=False,
        )  # fmt: skip
        # into the pattern itself: otherwise its indices are copied, which takes as long as the products
        torch.sparse.sampled_addmm(pattern, sources.detach(), targets.detach().T, beta=0.0, out=pattern)
        return pattern.values()


def symmetric_weights(graph: Graph, values: Tensor) -> Tensor:
    """(E,) ``values`` (E,) >= 0 of directed edges over the roots of both ends' degrees: D^-1/2 A D^-1/2.

    An edge is divided by what leaves its source and by what reaches its target: the same two degrees where ``values``
    are symmetric, and no weight is above 1 where they are not. A node without an edge keeps weights of zero.
    """
    leaving, reaching = (_inverse_root_degrees(graph, values, ends) for ends in (graph.sources, graph.targets))
    return values * leaving[graph.sources] * reaching[graph.targets]


def _inverse_root_degrees(graph: Graph, values: Tensor, ends: Tensor) -> Tensor:
    """(N,) 1 / sqrt of the sum of the values (E,) at each node; 0 where there is none."""
    degrees = torch.zeros(graph.num_nodes, dtype=values.dtype, device=values.device).index_add_(0, ends, values)
    return torch.where(degrees > 0, degrees.clamp_min(torch.finfo(values.dtype).tiny).rsqrt(), 0.0)


def drop_edges(graph: Graph, keep_rate: float, *, renormalise: bool = False, symmetric: bool = True) -> Tensor:
    """(E,) the graph's weights with a random share of the edges set to 0 (torch's global generator).

    Args:
        graph: the pattern.
        keep_rate: chance of an edge to stay.
        renormalise: normalise what is left by its own degrees (SGL's paper); otherwise weights stay as they were.
        symmetric: both directions of an edge stay or go together: what is left is a graph. Otherwise each is drawn by
            itself, a dropout of the matrix's entries (RLMRec's code).
    """
    mask = torch.rand(graph.num_edges, device=graph.weights.device) < keep_rate
    if symmetric:
        first = graph.sources <= graph.targets
        mask = torch.where(first, mask, mask[graph.opposite])
    return symmetric_weights(graph, mask.to(graph.weights.dtype)) if renormalise else graph.weights * mask


def drop_nodes(graph: Graph, keep_rate: float, *, renormalise: bool = False) -> Tensor:
    """(E,) the graph's weights where edges at randomly dropped nodes are 0 (see :func:`drop_edges`)."""
    mask = torch.rand(graph.num_nodes, device=graph.weights.device) < keep_rate
    edges = mask[graph.sources] & mask[graph.targets]
    return symmetric_weights(graph, edges.to(graph.weights.dtype)) if renormalise else graph.weights * edges
