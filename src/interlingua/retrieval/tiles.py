"""Positions of targets straight from vectors: a block's scores exist one tile at a time, small enough for the cache.

A full ranking needs one number per target: how many items stand above it. Where scores are dot products, the (B, I)
block of scores need therefore never be written to memory, which costs more than the multiplication itself, and a query
whose target has as many items above it as its position matters is done with. The positions are those of
:func:`interlingua.evaluate.ranking.in_full` over the same scores.

Shape key: B queries with one target each, I items, W items of a tile, D width.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.scorer import Scorer
from interlingua.data.queries import IntArray, Queries
from interlingua.retrieval.positions import BEYOND, NEVER, Positions

CELLS = 2**19
"""scores of a tile, at most: 2 MiB"""
TILE = 1024
"""W, at most; a multiple of 8, and with :data:`COLUMNS` at most 2,040 (:func:`count` adds up bytes)"""
TOGETHER = 128
"""queries whose targets' scores are computed at once, as a product of matrices: so they are rounded as in the tiles"""
BLOCK, COLUMNS = 8, 64
"""queries and items of a tile, at least: products of very few take another way and may round otherwise"""
LARGEST = 1e37
"""products that could come near float32's range are left to the plain way, which says what is wrong with them"""


def vectors_of(scorer: Scorer, queries: Queries) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """(B, D) queries, (I, D) items and (I,) bias or None, of a scorer whose scores are just their dot products on a
    CPU in float32; None for any other.
    """
    with torch.no_grad():
        towers = scorer.towers()
        if towers is None or not towers.exact:
            return None
        table, bias = towers.items, towers.bias
        if table.device.type != "cpu" or table.dtype != torch.float32:  # asked first: no query is encoded in vain
            return None
        query = towers.users(queries).detach()
    table, bias = table.detach(), None if bias is None else bias.detach()
    if any(each.dtype != torch.float32 for each in (query, table if bias is None else bias)):
        return None
    largest = _largest(query) * _largest(table) * table.shape[1] + (0.0 if bias is None else _largest(bias))
    return (query, table, bias) if largest < LARGEST else None  # also false for NaN


def in_tiles(
    query: Tensor, table: Tensor, bias: Tensor | None, targets: IntArray, seen: Queries, depth: int
) -> Positions | None:
    """(B,) positions, from 1, of one target per query among all items that the query has not seen.

    Equal scores: the lower row stands first. A target among the seen items gets :data:`NEVER`, one below ``depth``
    :data:`BEYOND`: a query is done with as soon as so many items stand above its target, which for most is after a
    small part of the catalogue.

    Args:
        query: (B, D).
        table: (I, D).
        bias: (I,) added to every dot product, or None.
        targets: (B,) item indices.
        seen: B queries whose items are masked.
        depth: last position that matters, I for all.

    Returns:
        The positions, or None if a target's score came out differently in its tile than by itself, so that what
        stands above it cannot be counted this way. (Sums of D products may depend on their place in a matrix.)
    """
    count, items = len(query), len(table)
    query, targets = query.contiguous(), np.asarray(targets, np.int64)
    answers = torch.from_numpy(targets)
    own = _plus(_own(query, table, answers), None if bias is None else bias[answers]).numpy()
    hidden_item, hidden_row = _by_item(seen)
    above = np.zeros(count, np.int64)
    left, place = np.arange(count), np.arange(count)  # rows that are not done with, and where among them a row is
    left_queries, cells = query, max(CELLS, COLUMNS * count) + COLUMNS * count
    space, flags = query.new_empty(cells), np.empty(cells, np.bool_)
    start = 0
    while start < items and len(left):
        stop = start + max(COLUMNS, min(TILE, CELLS // len(left) // 8 * 8))
        stop = stop if items - stop >= COLUMNS else items
        tile = torch.mm(left_queries, table[start:stop].T, out=space[: len(left) * (stop - start)].view(len(left), -1))
        scores = _plus(tile, None if bias is None else bias[start:stop]).numpy()
        goal, bar = targets[left], own[left]
        found = _above(scores, start, goal, bar, flags)
        if found is None:
            return None
        part = slice(*np.searchsorted(hidden_item, (start, stop)))
        row, item = place[hidden_row[part]], hidden_item[part]
        row, item = row[row >= 0], item[row >= 0]
        value = scores[row, item - start]
        higher = (value > bar[row]) | ((value == bar[row]) & (item < goal[row]))
        above[left] += found - np.bincount(row[higher], minlength=len(left))
        going = above[left] < depth
        if not going.all():
            if going.any():
                going[np.flatnonzero(~going)[: max(0, BLOCK - int(going.sum()))]] = True
            left, left_queries = left[going], left_queries[torch.from_numpy(going)]
            place[:] = -1
            place[left] = np.arange(len(left))
        start = stop
    positions = np.where(above < depth, above + 1, BEYOND)
    positions[hidden_row[targets[hidden_row] == hidden_item]] = NEVER
    return positions


def _own(query: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """(B,) dot product of each query with its own target (B,)."""
    parts = -(-len(query) // TOGETHER)  # of equal size: none is left with very few
    out = []
    for part, items in zip(query.tensor_split(parts), targets.tensor_split(parts), strict=True):
        filled = torch.cat([items, items.new_zeros(max(0, COLUMNS - len(items)))])
        out.append((part @ table[filled].T)[:, : len(items)].diagonal())
    return torch.cat(out)


def _above(
    scores: FloatArray, start: int, goal: IntArray, bar: FloatArray, flags: npt.NDArray[np.bool_]
) -> Positions | None:
    """(N,) items of a tile that stand above each row's target.

    Args:
        scores: (N, W) of the items ``start`` to ``start + W``.
        start: first item of the tile.
        goal: (N,) targets.
        bar: (N,) their scores.
        flags: memory for N times W, rounded up to a multiple of 8, marks.

    Returns:
        None if a target of this tile has another score here than ``bar``.
    """
    number, width = scores.shape
    padded = -(-width // 8) * 8
    marks = flags[: number * padded].reshape(number, padded)
    marks[:, width:] = False
    # above this: above the target, or equal to it and in a lower row
    limit = np.where(goal >= start + width, np.nextafter(bar, np.float32(-np.inf)), bar)
    np.greater(scores, limit[:, None], out=marks[:, :width])
    found = count(marks)
    column = goal - start
    inside = np.flatnonzero((column >= 0) & (column < width))
    equal = scores[inside] == bar[inside, None]
    if not equal[np.arange(len(inside)), column[inside]].all():
        return None
    found[inside] += (equal & (np.arange(width) < column[inside, None])).sum(1)
    return found


def count(flags: np.ndarray) -> Positions:
    """(B,) how many of each row's (B, W) flags are set: eight bytes are added at once, as one integer."""
    words = flags.view(np.uint64).sum(axis=1)
    out: Positions = words.view(np.uint8).reshape(len(flags), 8).sum(axis=1, dtype=np.int64)
    return out


def _largest(values: Tensor) -> float:
    """Largest magnitude, without a copy of the values."""
    low, high = torch.aminmax(values)
    return max(-float(low), float(high))


def _plus(scores: Tensor, bias: Tensor | None) -> Tensor:
    return scores if bias is None else scores.add_(bias)


def _by_item(seen: Queries) -> tuple[IntArray, IntArray]:
    """Seen items and the rows of who saw them, by item and then row, each pair once."""
    pairs = np.sort(seen.items.astype(np.int64) * len(seen) + np.repeat(np.arange(len(seen)), seen.lengths()))
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    return pairs // len(seen), pairs % len(seen)
