"""A first, rounded look at blocks of scores: how far off it may be, and which of them may be among the k best.

Shape key: B queries, N items of a block, G groups of neighbours, D width.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

QUERY_ROWS = 1024
"""queries of a block; with ITEM_BLOCK: 8 MB of scores, the fastest of 256 to 1024 by 1024 to 4096 on two EPYC cores"""
ITEM_BLOCK = 2048
"""items of a block"""
GROUP = 128
"""neighbouring scores whose maximum is compared first"""
WORTH_TRYING = 10_000_000
"""scores from which on it is measured which type screens faster"""


def rounding(screen: torch.dtype, dim: int) -> float:
    """Largest error of a screened score against an exact one, in units of the two vectors' lengths.

    A sum of D products in float32 is off by less than ``D 2^-24`` of the sum of their magnitudes, which is at most the
    product of the lengths (Cauchy-Schwarz); bfloat16 rounds both factors and the result by at most ``2^-9`` of each.
    """
    exact = 4 * (dim + 2) * 2.0**-24
    return exact if screen == torch.float32 else exact + 3.1 * 2.0**-9


def faster_type(queries: Tensor, items: Tensor) -> torch.dtype:
    """bfloat16 where this processor multiplies blocks of it clearly faster. Any answer gives the same results."""
    if queries.device.type != "cpu" or len(queries) * len(items) < WORTH_TRYING:
        return torch.float32
    found = _faster.get((queries.shape[1], torch.get_num_threads()))
    if found is not None:
        return found
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        left = queries[:QUERY_ROWS].to(dtype)
        right = items[:ITEM_BLOCK].to(dtype)
        times = []
        for _ in range(4):
            started = time.perf_counter()
            torch.mm(left, right.T)
            times.append(time.perf_counter() - started)
        seconds[dtype] = min(times)
    found = torch.bfloat16 if 1.3 * seconds[torch.bfloat16] < seconds[torch.float32] else torch.float32
    _faster[queries.shape[1], torch.get_num_threads()] = found
    return found


_faster: dict[tuple[int, int], torch.dtype] = {}
"""width and threads -> what :func:`faster_type` measured"""


def highest(groups: Tensor, limit: Tensor) -> Tensor:
    """(B, G) float32 maxima of (B, G, n) scores, right wherever they are above ``limit`` (B, G); else maybe too low."""
    if groups.dtype != torch.bfloat16:
        return groups.amax(dim=2)
    # positive floats are ordered as the integers of their bits, and integers have a fast maximum
    out = groups.view(torch.int16).amax(dim=2).view(torch.bfloat16).float()
    negative = (limit < 0).any(dim=1).nonzero()[:, 0]
    if len(negative):
        out[negative] = groups[negative].amax(dim=2).float()
    return out


def most_of_the_best(k: int, fraction: float) -> int:
    """How many of the k best a random share of the items holds at most, but for about one case in a million."""
    expected = k * fraction
    return int(expected + 5 * expected**0.5 + 4) if fraction < 1 else k


def fraction_above(scores: Tensor, limit: Tensor) -> float:
    """Share of ``scores`` above ``limit``, which is broadcast."""
    return int((scores > limit).sum()) / max(scores.numel(), 1)


def lower_bound(scores: Tensor, k: int) -> Tensor:
    """(B,) at most the k-th highest of each row of ``scores`` (B, N), k < N: the k-th of the maxima of small groups."""
    group = 1
    while group < GROUP and scores.shape[1] // (2 * group) >= 2 * k:
        group *= 2
    return scores.view(len(scores), -1, group).amax(dim=2).topk(k).values[:, -1]


def where_set(flags: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) rows and (n,) columns of the set flags, row by row."""
    if flags.device.type == "cpu":  # numpy's search of a mostly empty mask is many times faster than torch's
        which, columns = np.nonzero(flags.numpy())
        return torch.from_numpy(which), torch.from_numpy(columns)
    return flags.nonzero(as_tuple=True)  # type: ignore[return-value]
