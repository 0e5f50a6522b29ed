"""Uniform assignment of vectors to codes (Sinkhorn), and last codes by which items of equal codes are told apart.

Zheng et al., LC-Rec, ICDE 2024, arXiv 2311.09049, section III-B ("uniform semantic mapping") and the authors' code
(RUCAIBox/LC-Rec): on the last level every code shall get equally many vectors of a batch, so few items end up with all
codes equal; items that do are assigned anew among themselves, up to :data:`PASSES` times.

Shape key: n vectors, L codes of a codebook, d width, K codes of an item.

**Deviation:** what is still equal then is matched one to one with the codes that no item of the same beginning has
(Hungarian method on distances); the authors leave it equal, as twice the same vector is for Sinkhorn.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

ROUNDS = 50
"""normalisations of rows and columns (the authors' code: 50)"""
PASSES = 20
"""assignments of items of equal codes among themselves (the authors' code: 20)"""


def distances(points: Tensor, codebook: Tensor) -> Tensor:
    """(n, L) squared distances of points (n, d) and codes (L, d)."""
    return torch.cdist(points.double(), codebook.double()).square()


def balanced(apart: Tensor, epsilon: float, rounds: int = ROUNDS) -> Tensor:
    """(n, L) shares of a transport from vectors to codes: rows sum to 1, columns to about n / L.

    Args:
        apart: (n, L) distances; they are shifted and scaled to -1 ... 1 first, as in the authors' code.
        epsilon: weight of the entropy; the smaller, the closer to 0 and 1 (authors: .003).
        rounds: normalisations of columns and rows.
    """
    low, high = apart.min(), apart.max()
    middle, half = (low + high) / 2, (high - low) / 2 + 1e-5
    logs = -((apart.double() - middle) / half) / epsilon
    for _ in range(rounds):
        logs = logs - logs.logsumexp(0, keepdim=True)
        logs = logs - logs.logsumexp(1, keepdim=True)
    return logs.exp()


@torch.no_grad()
def uniform(points: Tensor, codebook: Tensor, epsilon: float) -> Tensor:
    """(n,) the code of ``codebook`` (L, d) with the largest share of each of ``points`` (n, d)."""
    return balanced(distances(points, codebook), epsilon).argmax(1)


@torch.no_grad()
def told_apart(codes: Tensor, rests: Tensor, codebook: Tensor, epsilon: float) -> Tensor:
    """(n, K) codes (n, K) with other last codes, so that no two items are equal where that is possible.

    Only items whose codes are all those of another item change, and only in the last code. Where more items begin alike
    than a codebook has codes, some stay equal.

    Args:
        codes: (n, K).
        rests: (m, d) what the levels before the last leave of the last m vectors; the items before those keep theirs.
        codebook: (L, d) of the last level.
        epsilon: see :func:`balanced`.
    """
    out, fixed = codes.clone(), len(codes) - len(rests)
    if not fixed:  # later items are matched one to one at once
        for _ in range(PASSES):
            groups = _equal(out)
            for indices in groups:
                out[indices, -1] = uniform(rests[indices], codebook, epsilon).to(out)
            if not groups:
                return out
    for indices in _beginnings(out[:, :-1], {row for group in _equal(out) for row in group}):
        _matched(out, indices, rests, codebook, fixed)
    return out


def _equal(codes: Tensor) -> list[list[int]]:
    """Items of equal codes, two and more."""
    return [indices for indices in _groups(codes) if len(indices) > 1]


def _groups(codes: Tensor) -> list[list[int]]:
    found: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, code in enumerate(codes.tolist()):
        found[tuple(code)].append(row)
    return list(found.values())


def _beginnings(codes: Tensor, among: set[int]) -> list[list[int]]:
    """All items of each beginning that one of some items has."""
    return [indices for indices in _groups(codes) if among.intersection(indices)]


def _matched(out: Tensor, indices: list[int], rests: Tensor, codebook: Tensor, fixed: int) -> None:
    """Gives, in place, codes that are free to all but the first of those items of one beginning that are equal."""
    taken: set[int] = set()
    movers = []
    for row in indices:
        last = int(out[row, -1])
        if last in taken and row >= fixed:
            movers.append(row)
        taken.add(last)
    free = [code for code in range(len(codebook)) if code not in taken]
    if not movers or not free:
        return
    from scipy.optimize import linear_sum_assignment

    cost = distances(rests[[row - fixed for row in movers]], codebook[free])
    for mover, code in zip(*linear_sum_assignment(cost.cpu().numpy()), strict=True):
        out[movers[mover], -1] = free[code]
