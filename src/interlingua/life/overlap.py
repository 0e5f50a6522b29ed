"""How much two ranked lists, or two sets of neighbours, have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

PERSISTENCE = 0.9
"""of the rank-biased overlap: the first 10 places have 86 % of the weight (Webber et al. 2010, 4.3)"""

QUERIES = 64
"""items compared with all others at once"""


def common(one: Sequence[str], other: Sequence[str]) -> float:
    """Share of the longer list that both have; 1 for two empty ones."""
    longest = max(len(one), len(other))
    return len(set(one) & set(other)) / longest if longest else 1.0


def rank_biased_overlap(one: Sequence[str], other: Sequence[str], p: float = PERSISTENCE) -> float:
    """RBO_ext of two lists without repeats: 1 for equal ones, 0 for lists without a common item.

    Webber, Moffat & Zobel, "A similarity measure for indefinite rankings", ACM TOIS 28(4), 2010, equation 32: the
    agreement at each depth d, weighted by p^d, and the last one for all that was not seen. Lists of different
    lengths are compared to the depth of the shorter one (deviation: the paper's extension to uneven lists guesses the
    rest of it); where one is empty, the overlap is 0, and 1 where both are.
    """
    depth = min(len(one), len(other))
    if not depth:
        return float(len(one) == len(other))
    first, second, overlap, total = set[str](), set[str](), 0, 0.0
    for place in range(depth):
        a, b = one[place], other[place]
        overlap += (a == b) or (a in second)
        overlap += a != b and b in first
        first.add(a)
        second.add(b)
        total += overlap / (place + 1) * p ** (place + 1)
    return overlap / depth * p**depth + (1 - p) / p * total


def neighbour_overlap(one: Tensor, other: Tensor, chosen: Sequence[int], k: int) -> float:
    """Mean share of the ``k`` nearest items by cosine that two tables (N, D), (N, E) of the same items agree on.

    ``chosen``: the items whose neighbours are compared.
    """
    k = min(k, len(one) - 1)
    if k < 1 or not len(chosen):
        return 1.0
    found = [_nearest(table, chosen, k) for table in (one, other)]
    return float(np.mean([len(np.intersect1d(*pair)) / k for pair in zip(*found, strict=True)]))


def _nearest(table: Tensor, chosen: Sequence[int], k: int) -> npt.NDArray[np.int64]:
    """(Q, k) the items nearest to each chosen one, without itself."""
    units = functional.normalize(table.float(), dim=1)
    parts = []
    for some in torch.as_tensor(list(chosen)).split(QUERIES):
        cosines = units[some] @ units.T
        cosines[torch.arange(len(some)), some] = -torch.inf
        parts.append(cosines.topk(k, dim=1).indices)
    return torch.cat(parts).numpy()


def sample(count: int, most: int, seed: int = 0) -> list[int]:
    """Up to ``most`` of the places 0 to ``count`` - 1, in order, the same for the same seed."""
    drawn = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:most]
    return sorted(drawn.tolist())
