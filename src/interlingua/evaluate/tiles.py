"""Positions of targets straight from vectors: a block's scores exist one tile at a time, small enough for the cache.

A full ranking needs one number per target: how many items stand above it. Where scores are dot products, the (B, I)
block of scores need therefore never be written to memory, which costs more than the multiplication itself. The
positions are those of :func:`interlingua.evaluate.ranking.in_full` over the same scores.

Shape key: B queries with one target each, I items, W items of a tile, D width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from interlingua.core import Backbone, IntArray, Queries, Ranker, TableRanker
from interlingua.evaluate.metrics import NEVER, Positions

TILE = 1024
"""W; a multiple of 8 and at most 2,040 (:func:`count` adds up bytes); with 512 queries the fastest on an EPYC core"""
LARGEST = 1e37
"""products that could come near float32's range are left to the plain way, which says what is wrong with them"""


def vectors_of(ranker: Ranker, queries: Queries) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """(B, D) queries, (I, D) items and (I,) bias or None, of a ranker whose scores are just their dot products on a
    CPU in float32; None for any other.
    """
    with torch.no_grad():
        if isinstance(ranker, TableRanker):
            table, bias = ranker.items, ranker.bias if ranker.bias.dim() else None
        elif isinstance(ranker, Backbone) and type(ranker).score is Backbone.score:
            ranker.eval()
            table, bias = ranker.item_table(), ranker.item_bias()
        else:
            return None
        if table.device.type != "cpu" or table.dtype != torch.float32:  # asked first: no query is encoded in vain
            return None
        query = ranker.represent(queries).detach()
    table, bias = table.detach(), None if bias is None else bias.detach()
    if any(each.dtype != torch.float32 for each in (query, table if bias is None else bias)):
        return None
    largest = float(query.abs().max()) * float(table.abs().max()) * table.shape[1]
    if bias is not None:
        largest += float(bias.abs().max())
    return (query, table, bias) if largest < LARGEST else None  # also false for NaN


def in_tiles(query: Tensor, table: Tensor, bias: Tensor | None, targets: IntArray, seen: Queries) -> Positions | None:
    """(B,) positions, from 1, of one target per query among all items that the query has not seen.

    Equal scores: the lower row stands first. A target among the seen items gets :data:`NEVER`.

    Args:
        query: (B, D).
        table: (I, D).
        bias: (I,) added to every dot product, or None.
        targets: (B,) item rows.
        seen: B queries whose items are masked.

    Returns:
        The positions, or None if a target's score came out differently in its tile than by itself, so that what
        stands above it cannot be counted this way. (Sums of D products may depend on their place in a matrix.)
    """
    rows, items = len(query), len(table)
    query, targets = query.contiguous(), np.asarray(targets, np.int64)
    goals = torch.from_numpy(targets)
    own = _plus(query @ table[goals].T, None if bias is None else bias[goals]).diagonal().contiguous().numpy()
    just_below = np.nextafter(own, np.float32(-np.inf))  # above this: above the target or equal to it
    pairs = _pairs(seen)
    hidden_item, hidden_row = pairs // rows, pairs % rows
    starts = range(0, items, TILE)
    hidden_at = np.searchsorted(hidden_item, [*starts, items])
    by_target = np.argsort(targets, kind="stable")
    target_at = np.searchsorted(targets[by_target], [*starts, items])
    above = np.zeros(rows, np.int64)
    space, flags = query.new_empty(rows * TILE), np.zeros((rows, TILE), np.bool_)
    for n, start in enumerate(starts):
        width = min(TILE, items - start)
        tile = torch.mm(query, table[start : start + width].T, out=space[: rows * width].view(rows, width))
        scores = _plus(tile, None if bias is None else bias[start : start + width]).numpy()
        limit = np.where(targets >= start + width, just_below, own)
        flags[:, width:] = False
        np.greater(scores, limit[:, None], out=flags[:, :width])
        above += count(flags)
        inside = by_target[target_at[n] : target_at[n + 1]]
        equal = scores[inside] == own[inside, None]
        column = targets[inside] - start
        if not equal[np.arange(len(inside)), column].all():
            return None
        above[inside] += (equal & (np.arange(width) < column[:, None])).sum(1)
        row, item = (each[hidden_at[n] : hidden_at[n + 1]] for each in (hidden_row, hidden_item))
        value, bar = scores[row, item - start], own[row]
        higher = (value > bar) | ((value == bar) & (item < targets[row]))
        above -= np.bincount(row[higher], minlength=rows)
    positions = above + 1
    wanted = targets * rows + np.arange(rows)
    place = np.minimum(np.searchsorted(pairs, wanted), max(len(pairs) - 1, 0))
    positions[pairs[place] == wanted if len(pairs) else np.zeros(rows, np.bool_)] = NEVER
    return positions


def count(flags: np.ndarray) -> Positions:
    """(B,) how many of each row's (B, W) flags are set: eight bytes are added at once, as one integer."""
    words = flags.view(np.uint64).sum(axis=1)
    out: Positions = words.view(np.uint8).reshape(len(flags), 8).sum(axis=1, dtype=np.int64)
    return out


def _plus(scores: Tensor, bias: Tensor | None) -> Tensor:
    return scores if bias is None else scores.add_(bias)


def _pairs(seen: Queries) -> np.ndarray:
    """Sorted item * B + row of every seen item, each once."""
    rows = np.repeat(np.arange(len(seen)), seen.lengths())
    pairs = np.sort(seen.items.astype(np.int64) * len(seen) + rows)
    kept: np.ndarray = pairs[np.diff(pairs, prepend=-1) > 0]
    return kept
