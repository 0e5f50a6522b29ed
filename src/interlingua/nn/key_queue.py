"""InfoNCE against a queue of earlier keys (MoCo, He et al. 2020), in which a node stands once.

Shape key: n anchors, Q keys, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from interlingua.nn.contrast import unit

EMPTY = -1
"""the node of a place of the queue that holds none"""


def enqueue(nodes: Tensor, keys: Tensor, new_nodes: Tensor, new_keys: Tensor) -> tuple[Tensor, Tensor]:
    """The queue with new keys in front: (Q,) nodes and (Q, D) keys. Former keys of these nodes go, then the oldest.

    Args:
        nodes: (Q,) nodes of the keys, or :data:`EMPTY`.
        keys: (Q, D)
        new_nodes: (n,) distinct.
        new_keys: (n, D); no gradient flows to them.
    """
    stay = ~torch.isin(nodes, new_nodes)
    size = len(nodes)
    return torch.cat([new_nodes, nodes[stay]])[:size], torch.cat([new_keys.detach(), keys[stay]])[:size]


def queue_infonce(
    anchors: Tensor, positives: Tensor, anchor_nodes: Tensor, nodes: Tensor, keys: Tensor, temperature: float
) -> Tensor:
    """Mean of ``-log exp(cos(a, p) / T) / (exp(cos(a, p) / T) + sum_q exp(cos(a, k_q) / T))``, a scalar.

    Args:
        anchors: (n, D)
        positives: (n, D)
        anchor_nodes: (n,) whose anchors these are: keys of the same node are no negatives.
        nodes: (Q,) as for :func:`enqueue`.
        keys: (Q, D)
        temperature: T > 0.
    """
    left = unit(anchors)
    own = (left * unit(positives)).sum(1, keepdim=True)
    hidden = (nodes[None, :] == anchor_nodes[:, None]) | (nodes == EMPTY)[None, :]
    negatives = (left @ unit(keys).T).masked_fill(hidden, -math.inf)
    logits = torch.cat([own, negatives], dim=1) / temperature
    return functional.cross_entropy(logits, anchor_nodes.new_zeros(len(anchors)))
