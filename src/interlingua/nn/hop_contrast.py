"""Contrasts of nodes with their means over one and two hops of a user-item graph, against a queue of earlier nodes.

Shape key: n nodes, T width of what is averaged, D width of what is contrasted, Q keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from interlingua.nn.hop_means import Hops
from interlingua.nn.key_queue import queue_infonce

ONE_HOP, TWO_HOP = "one_hop", "two_hop"


def hop_contrasts(
    own: Tensor, nodes: Tensor, hops: Hops, read: Callable[[str, Tensor], Tensor], queue: tuple[Tensor, Tensor],
    weights: Mapping[str, float], temperature: float,
) -> dict[str, Tensor]:  # fmt: skip
    """Weighted losses ``one_hop`` and ``two_hop``; one without weight, or without any such neighbour, is left out.

    Args:
        own: (n, D) the nodes' rows.
        nodes: (n,) which nodes of the side these are.
        hops: means over hops of all nodes of the side.
        read: (name of the loss, (m, T) means) -> (m, D) rows to contrast.
        queue: (Q,) nodes and (Q, D) keys, see :func:`interlingua.nn.key_queue.enqueue`.
        weights: of each loss.
        temperature: > 0.
    """
    at = nodes.cpu()
    losses: dict[str, Tensor] = {}
    for name, means, has in ((ONE_HOP, hops.one, hops.has_one), (TWO_HOP, hops.two, hops.has_two)):
        some = has[at].to(nodes.device)
        if weights[name] and len(means) and bool(some.any()):
            anchors = read(name, means[at].to(own)[some])
            losses[name] = weights[name] * queue_infonce(anchors, own[some], nodes[some], *queue, temperature)
    return losses
