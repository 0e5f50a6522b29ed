"""The codes of a catalogue as a trie, level by level: what a search may visit, and nothing else.

The trie is :class:`interlingua.lm.constrain.Trie`, with codes in place of tokens. Every item has equally many codes, so
its leaves are on one level. A search visits nodes alone, hence it cannot make codes that no item has.

Shape key: I items, K codes of an item, N nodes of a level, B rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from interlingua.lm.constrain import Trie

SKIPPED = 1000.0
"""log-probability that an item loses for every level that a beam search did not reach"""


@dataclass(frozen=True)
class Level:
    """The N nodes of one level, in the trie's order: children of one node are neighbours."""

    codes: Tensor
    """(N,) the code that leads to each node"""
    parents: Tensor
    """(N,) numbers of the nodes above, in their level (zeros on the first)"""
    path: Tensor
    """(N, level) numbers of the nodes on the way, in their levels, the node's own last"""
    alone: Tensor
    """(N,) bool: nodes without a sibling"""
    branches: Tensor
    """(N,) bool: nodes below which there is more than one item's node"""


@dataclass(frozen=True)
class Levels:
    """K levels, and where the items are."""

    levels: list[Level]
    items: Tensor
    """(I,) each item's node on the last level; items of equal codes share one"""


def levels_of(codes: Tensor) -> Levels:
    """The trie of codes (I, K)."""
    trie = Trie(codes.tolist())
    below = [False] * len(trie.children)  # children have higher numbers than their parents
    for node in range(len(trie.children) - 1, -1, -1):
        below[node] = len(trie.children[node]) > 1 or any(below[child] for child in trie.children[node].values())
    device, made = codes.device, []
    above, paths = [0], torch.zeros(1, 0, dtype=torch.int64)
    for _ in range(codes.shape[1]):
        steps = [(number, code, node) for number, own in enumerate(above) for code, node in trie.children[own].items()]
        parents = torch.tensor([number for number, _, _ in steps], dtype=torch.int64)
        paths = torch.cat([paths[parents], torch.arange(len(steps))[:, None]], dim=1)
        siblings = torch.bincount(parents, minlength=len(above))[parents]
        values = torch.tensor([code for _, code, _ in steps], dtype=torch.int64)
        above = [node for _, _, node in steps]
        branches = torch.tensor([below[node] for node in above], dtype=torch.bool)
        made.append(Level(*(part.to(device) for part in (values, parents, paths, siblings == 1, branches))))
    items = torch.empty(len(codes), dtype=torch.int64)
    for number, node in enumerate(above):
        items[trie.candidates[node]] = number
    return Levels(made, items.to(device))


def among_siblings(logits: Tensor, parents: Tensor, count: int) -> Tensor:
    """(B, N) logarithms of a softmax over each node's siblings.

    Args:
        logits: (B, N) of nodes.
        parents: (N,) of each node.
        count: nodes of the level above.
    """
    index = parents.expand_as(logits)
    most = logits.new_full((len(logits), count), -torch.inf).scatter_reduce(1, index, logits, "amax")
    shifted = logits - most.gather(1, index)
    total = torch.zeros_like(most).scatter_add(1, index, shifted.exp())
    return shifted - total.gather(1, index).log()


def reached(levels: Levels, log_probs: list[Tensor]) -> Tensor:
    """(B, I) log-probability of each item's codes; of one that a search left, that of the part which it reached.

    Such an item loses :data:`SKIPPED` for every level that is missing: it stands behind all that were found.

    Args:
        levels: K of them.
        log_probs: K times (B, N), minus infinity where a search did not come.
    """
    places = levels.levels[-1].path[levels.items]
    out = log_probs[-1][:, places[:, -1]]
    for missing in range(1, len(log_probs)):
        shorter = log_probs[-1 - missing][:, places[:, -1 - missing]] - SKIPPED * missing
        out = torch.where(out.isinf(), shorter, out)
    return out
