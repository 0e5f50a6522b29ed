"""The directed graph of a session's items, of many sessions at once, and its gated graph network.

Shape key: B sessions, L positions, D width. A node of a session is written at the position where its item first occurs;
the other positions of the item hold no node.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Edges = Literal["counted", "once"]


class SessionGraphs(NamedTuple):
    """B graphs, dense."""

    nodes: Tensor
    """(B, L) the position of each position's node: the first one that holds the same item"""
    incoming: Tensor
    """(B, L, L) weights by which node r reads node c in ``incoming[b, r, c]``, along edges c -> r; rows sum to 1, or
    to 0 where no edge comes in"""
    outgoing: Tensor
    """(B, L, L) the same along edges r -> c"""


def session_graphs(indices: Tensor, real: Tensor, edges: Edges = "counted") -> SessionGraphs:
    """An edge from each event's item to the next event's.

    Args:
        indices: (B, L) item indices, a row's events at its first columns.
        real: (B, L) bool: columns that hold an event.
        edges: ``counted``: a transition that occurs twice weighs twice; ``once``: it does not.
    """
    width = indices.shape[1]
    alike = (indices[:, :, None] == indices[:, None, :]) & real[:, :, None] & real[:, None, :]
    own = torch.arange(width, device=indices.device).expand_as(indices)
    nodes = torch.where(real, alike.to(torch.uint8).argmax(2), own)
    follows = (real[:, :-1] & real[:, 1:]).to(torch.float32)
    cells = nodes[:, :-1] * width + nodes[:, 1:]
    counts = follows.new_zeros(len(indices), width * width).scatter_add_(1, cells, follows)
    if edges == "once":
        counts = counts.clamp_max(1.0)
    counts = counts.view(-1, width, width)  # (B, from, to)
    return SessionGraphs(nodes, _row_means(counts.transpose(1, 2)), _row_means(counts))


def _row_means(counts: Tensor) -> Tensor:
    return counts / counts.sum(2, keepdim=True).clamp_min(1.0)


def at_nodes(states: Tensor, nodes: Tensor) -> Tensor:
    """(B, L, D) the state of each position's node, of ``states`` (B, L, D)."""
    return states.gather(1, nodes[..., None].expand_as(states))


class GatedGraph(nn.Module):
    """Steps of a gated graph network (Li et al. 2016): a node's gated unit reads means of its neighbours' states.

    ``a = [A_in (H W_in + b_in), A_out (H W_out + b_out)]``, then ``h <- GRU(a, h)`` with one set of weights.
    """

    def __init__(self, dim: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.incoming = nn.Linear(dim, dim)
        self.outgoing = nn.Linear(dim, dim)
        self.cell = nn.GRUCell(2 * dim, dim)

    def forward(self, states: Tensor, graphs: SessionGraphs) -> Tensor:
        """(B, L, D) states of the nodes after all steps, of ``states`` (B, L, D) before them."""
        for _ in range(self.steps):
            read = torch.cat([graphs.incoming @ self.incoming(states), graphs.outgoing @ self.outgoing(states)], dim=2)
            states = self.cell(read.flatten(0, 1), states.flatten(0, 1)).view_as(states)
        return states
