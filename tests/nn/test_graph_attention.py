"""Attention over edges equals a dense masked softmax, values and gradients."""

import numpy as np
import pytest
import torch

from interlingua.nn.graph import bipartite
from interlingua.nn.graph_attention import attend


def dense(graph, query, key, value, heads, limit):
    """The plain formula over an (N, N) table per head."""
    adjacency = torch.zeros(graph.num_nodes, graph.num_nodes)
    adjacency[graph.sources, graph.targets] = 1
    parts = []
    for q, k, v in zip(*(t.chunk(heads, dim=1) for t in (query, key, value)), strict=True):
        weights = (q @ k.T).clamp(-limit, limit).exp() * adjacency
        parts.append(weights @ v / (weights.sum(dim=1, keepdim=True) + 1e-8))
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize(("heads", "limit"), [(1, 10.0), (3, 10.0), (2, 0.7)])
def test_equals_the_dense_formula(heads, limit):
    rng = np.random.default_rng(0)
    # the last user and the last item have no edge: they get zeros
    graph = bipartite(rng.integers(0, 8, 30), rng.integers(0, 6, 30), 9, 7)
    torch.manual_seed(0)
    tables = [torch.randn(16, 6, requires_grad=True) for _ in range(3)]
    out = attend(graph, *tables, heads=heads, limit=limit)
    wanted = dense(graph, *tables, heads, limit)
    assert torch.allclose(out, wanted, atol=1e-6)
    assert not out[8].any()
    assert not out[15].any()
    upstream = torch.randn_like(out)
    got = torch.autograd.grad((out * upstream).sum(), tables)
    want = torch.autograd.grad((wanted * upstream).sum(), tables)
    for one, other in zip(got, want, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_logits_beyond_the_limit_neither_overflow_nor_get_a_gradient():
    graph = bipartite(np.array([0, 0, 1]), np.array([0, 1, 1]), 2, 2)
    query = torch.full((4, 2), 100.0, requires_grad=True)
    value = torch.arange(8.0).reshape(4, 2)
    out = attend(graph, query, query, value, heads=1, limit=10.0)
    assert torch.allclose(out[0], (value[2] + value[3]) / 2)  # all at the limit: a plain mean
    out.sum().backward()
    assert not query.grad.any()
