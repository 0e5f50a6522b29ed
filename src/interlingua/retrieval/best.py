"""The one answer to "the best k that are allowed", for any scorer and any catalogue, in bounded memory.

- A scorer that searches by itself (an index, :class:`interlingua.retrieval.ann.Ann`) is asked to.
- One with towers is searched exactly, block by block (:mod:`interlingua.retrieval.topk`).
- Any other gives the scores of whole catalogues, for as many users at once as fit :data:`BLOCK_BYTES`.

Of equal scores the lower item index comes first. Shape key: B queries, I items, k results.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.scorer import BoolArray, Scorer, TopK, Towers
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import ConfigError, DataError, at_least_one
from interlingua.retrieval.few import MOST, top_k_of_few
from interlingua.retrieval.topk import top_k
from interlingua.retrieval.whole import suits, top_k_at_once

BLOCK_BYTES = 64 * 2**20
"""scores of one block of users"""
MOST_USERS = 2048
"""of one block; so many histories are alike in length, and encoded with little padding"""
FEW = 0.25
"""if at most this fraction of the items is allowed, only their vectors are read"""


def best(
    scorer: Scorer, queries: Queries, k: int, *, allowed: BoolArray | None = None, repeat: bool = False,
    seen: Queries | None = None, ties: IntArray | None = None,
) -> TopK:  # fmt: skip
    """The k items with the highest scores among those that may come out.

    Args:
        scorer: any that ranks the catalogue.
        queries: B users with histories.
        k: how many.
        allowed: (I,) items that may come out for anybody; None: all.
        repeat: items of a query's own history may come out too.
        seen: B users with what may not come out for each; None: their own histories.
        ties: (I,) of equal scores the item with more of it comes first, where whole rows of scores are looked at; None:
            the lower row.

    Returns:
        ``min(k, I)`` columns; -1, with a score of minus infinity, where a query has fewer items that may come out.

    Raises:
        ConfigError: k < 1, or ``allowed`` of another length.
        DataError: scores that cannot be ranked (NaN, another shape).
    """
    at_least_one("k", k)
    if allowed is not None and allowed.shape != (scorer.num_items,):
        raise ConfigError(f"allowed has shape {allowed.shape}, expected ({scorer.num_items},): one flag per item")
    seen = queries if seen is None else seen
    scorer = scorer.with_repeats() if repeat else scorer
    own = scorer.best(queries, k, allowed=allowed, repeat=repeat, seen=seen)
    if own is not None:
        return own
    size, towers = MOST_USERS, scorer.towers()
    if towers is None:
        size = block_size(scorer.num_items)
    starts = range(0, max(len(queries), 1), size)
    parts = []
    for block, hidden in ((queries.slice(at, at + size), seen.slice(at, at + size)) for at in starts):
        if towers is None:
            parts.append(_by_scores(scorer, block, k, allowed, repeat, hidden, ties))
        else:
            found = by_vectors(towers, block, k, allowed=allowed, repeat=repeat, seen=hidden)
            parts.append(found if towers.exact else scored(scorer, block, found))
    return TopK(np.concatenate([p.indices for p in parts]), np.concatenate([p.scores for p in parts]))


def block_size(num_items: int, size: int | None = None) -> int:
    """Users per block: as many as fit :data:`BLOCK_BYTES` of float32 scores, at most :data:`MOST_USERS`."""
    if size is not None and size < 1:
        raise ConfigError(f"batch_users must be at least 1; got {size}")
    return size or int(np.clip(BLOCK_BYTES // (4 * max(num_items, 1)), 1, MOST_USERS))


def by_vectors(
    towers: Towers, queries: Queries, k: int, *, allowed: BoolArray | None = None, repeat: bool = False,
    seen: Queries | None = None,
) -> TopK:  # fmt: skip
    """:func:`best` by the vectors of a scorer."""
    with torch.no_grad():
        users, items = towers.users(queries).detach(), towers.items.detach()
    bias = None if towers.bias is None else towers.bias.detach()
    seen = queries if seen is None else seen
    return by_products(users, items, k, bias=bias, seen=None if repeat else seen, allowed=allowed)


def by_products(
    users: Tensor, items: Tensor, k: int, *, bias: Tensor | None = None, seen: Queries | None = None,
    allowed: BoolArray | None = None,
) -> TopK:  # fmt: skip
    """:func:`best` by dot products of (B, D) and (I, D); where few items are allowed, only theirs are computed."""
    width = min(k, len(items))
    if allowed is None or allowed.mean() > FEW:
        hidden = None if allowed is None else torch.from_numpy(~allowed).to(items.device)
        return _search(users, items, k, bias, seen, hidden)
    chosen = np.flatnonzero(allowed)
    indices = torch.from_numpy(chosen).to(items.device)
    part = None if bias is None else bias[indices]
    found = _search(users, items[indices], k, part, None if seen is None else _among(seen, allowed), None)
    missing = ((0, 0), (0, width - found.indices.shape[1]))
    known = np.where(found.indices < 0, -1, chosen[found.indices]) if len(chosen) else found.indices
    return TopK(np.pad(known, missing, constant_values=-1), np.pad(found.scores, missing, constant_values=-np.inf))


def _search(
    users: Tensor, items: Tensor, k: int, bias: Tensor | None, seen: Queries | None, hidden: Tensor | None
) -> TopK:
    """All at once for a few users or a moderate catalogue, else by blocks: the results are the same."""
    if 0 < len(users) <= MOST and len(items) and 4 * len(users) * len(items) <= BLOCK_BYTES:
        found = top_k_of_few(users, items, k, bias=bias, seen=seen, hidden=hidden)
        if found is not None:
            return found
    if len(users) > MOST and suits(users, items, k):
        return top_k_at_once(users, items, k, bias=bias, seen=seen, hidden=hidden)
    return top_k(users, items, k, bias=bias, seen=seen, hidden=hidden)


def mask_seen(scores: FloatArray, queries: Queries) -> None:
    """Sets the score of every item in a query's own history to minus infinity, in place. ``scores``: (B, I)."""
    scores[np.repeat(np.arange(len(queries)), queries.lengths()), queries.items] = -np.inf


def best_of_scores(
    scores: FloatArray, queries: Queries, k: int, *, allowed: BoolArray | None = None, repeat: bool = False,
    ties: IntArray | None = None,
) -> TopK:  # fmt: skip
    """:func:`best` where the scores (B, I) exist already; they are changed."""
    if not repeat:
        mask_seen(scores, queries)
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    indices = top_items(scores, k, ties)
    values = np.take_along_axis(scores, np.maximum(indices, 0), axis=1)
    return TopK(indices, np.where(indices < 0, -np.inf, values).astype(np.float32))


def top_items(scores: FloatArray, n: int, ties: IntArray | None = None) -> npt.NDArray[np.int64]:
    """(B, n) rows of the highest scores, best first; -1 where only masked items are left.

    Of equal scores the item with more ``ties`` (I,) comes first, then the lower row.
    """
    n = min(n, scores.shape[1])
    out = np.full((len(scores), n), -1, np.int64)
    if not n:
        return out
    # a stable full sort only of those at or above the n-th value keeps ties deterministic without sorting everything
    bound = -np.partition(-scores, n - 1, axis=1)[:, n - 1]
    for b in range(len(scores)):
        candidates = np.flatnonzero((scores[b] >= bound[b]) & np.isfinite(scores[b]))
        own = -scores[b, candidates]
        order = np.argsort(own, kind="stable") if ties is None else np.lexsort((-ties[candidates], own))
        chosen = candidates[order][:n]
        out[b, : len(chosen)] = chosen
    return out


def _by_scores(
    scorer: Scorer, queries: Queries, k: int, allowed: BoolArray | None, repeat: bool, seen: Queries,
    ties: IntArray | None,
) -> TopK:  # fmt: skip
    """:func:`best` of one block of users."""
    scores = np.array(scorer.score(queries), np.float32)
    name, shape = type(scorer).__name__, (len(queries), scorer.num_items)
    if scores.shape != shape:
        raise DataError(f"{name}.score returned shape {scores.shape}; expected (queries, items) = {shape}")
    if np.isnan(scores).any():
        raise DataError(f"{name}.score returned NaN for some of {shape[0]} queries: nothing to rank by")
    return best_of_scores(scores, seen, k, allowed=allowed, repeat=repeat, ties=ties)


def scored(scorer: Scorer, queries: Queries, found: TopK) -> TopK:
    """The same items with the scorer's own scores, in their order: of towers that rank in another unit."""
    if not found.indices.size:
        return found
    scores = np.array(scorer.score(queries, np.maximum(found.indices, 0)), np.float32)
    return TopK(found.indices, np.where(found.indices < 0, -np.inf, scores).astype(np.float32))


def _among(queries: Queries, allowed: BoolArray) -> Queries:
    """The histories, only their allowed items, numbered among these."""
    mask = allowed[queries.items]
    owner = np.repeat(np.arange(len(queries)), queries.lengths())[mask]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(queries)))]).astype(np.int64)
    numbers = np.cumsum(allowed) - 1
    return Queries(queries.users, numbers[queries.items[mask]], offsets)
