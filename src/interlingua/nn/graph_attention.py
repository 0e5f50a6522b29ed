"""Multi-head attention over the edges of a graph, with logits, weights and gradients as sampled products and bag sums.

Shape key: N nodes, E directed edges, D width, H heads.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from interlingua.nn.graph import Graph, bag, edge_products, opposed

EPSILON = 1e-8
"""added to the sum of a node's weights: a node without edges gets zeros"""
ROUNDING = 1e-5
"""how far a weight may lie from that of a logit that was cut off, relatively, and still count as cut off"""


def attend(graph: Graph, query: Tensor, key: Tensor, value: Tensor, *, heads: int, limit: float) -> Tensor:
    """(N, D) per node and head, the mean of the neighbours' values under ``softmax(clamp(q . k, -limit, limit))``.

    Equal to the plain formula up to rounding; nothing of shape (E, D) is ever made.

    Args:
        graph: the pattern; the edges of a node lead to what it attends to.
        query: (N, D) queries of the nodes.
        key: (N, D) keys of their neighbours.
        value: (N, D) vectors to average.
        heads: H, a divisor of D.
        limit: logits are cut off here (no gradient beyond), so that no exponential overflows.
    """
    dtype = graph.weights.dtype  # under autocast the maps hand over half precision
    out: Tensor = _Attend.apply(query.to(dtype), key.to(dtype), value.to(dtype), graph, heads, limit)
    return out


class _Attend(torch.autograd.Function):
    """Keeps (H, E) unnormalised weights; with them both directions are sampled products and bag sums."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, graph: Graph, heads: int, limit: float) -> Tensor:
        out, weights, masses = torch.empty_like(value), [], []
        for q, k, v, o in zip(*(t.chunk(heads, dim=1) for t in (query, key, value, out)), strict=True):
            weight = edge_products(graph, q.contiguous(), k.contiguous()).clamp_(-limit, limit).exp_()
            mass = bag(graph, torch.ones_like(v[:, :1]), weight) + EPSILON
            o.copy_(bag(graph, v.contiguous(), weight) / mass)
            weights.append(weight)
            masses.append(mass)
        ctx.graph, ctx.heads, ctx.limit = graph, heads, limit
        ctx.save_for_backward(query, key, value, out, *weights, *masses)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, *saved = ctx.saved_tensors
        graph, heads = ctx.graph, ctx.heads
        d_query, d_key, d_value = (torch.empty_like(t) for t in (query, key, value))
        tables = (query, key, value, out, grads[0], d_query, d_key, d_value)
        low, high = math.exp(-ctx.limit) * (1 + ROUNDING), math.exp(ctx.limit) * (1 - ROUNDING)
        parts = zip(*(t.chunk(heads, dim=1) for t in tables), saved[:heads], saved[heads:], strict=True)
        for q, k, v, o, g, d_q, d_k, d_v, weight, mass in parts:
            # with w an edge's weight, dL/dw = (g . v_target - g . o) / mass: one product of rows that are 1 longer
            slope = torch.cat([g, -(g * o).sum(dim=1, keepdim=True)], dim=1) / mass
            d_logit = edge_products(graph, slope, torch.cat([v, torch.ones_like(mass)], dim=1)).mul_(weight)
            d_logit.mul_((weight > low) & (weight < high))
            d_v.copy_(bag(graph, slope[:, :-1].contiguous(), opposed(graph, weight)))
            d_q.copy_(bag(graph, k.contiguous(), d_logit))
            d_k.copy_(bag(graph, q.contiguous(), opposed(graph, d_logit)))
        return d_query, d_key, d_value, None, None, None
