"""Exact top-k of dot products by blocks: a small part of the scores exists at any time, whatever the catalogue's size.

A block of queries meets the items block by block. Once k items have been seen, a score matters only if it is above the
k-th best so far, which few are (about ``k ln(I / k)`` of I in random order): the maximum of each group of neighbouring
scores is compared with that threshold, and only groups above it are looked into. Thresholds are renewed whenever the
number of items seen has doubled. In a catalogue without order the k best are spread evenly, so a share x of the items
hardly ever holds more than ``x k`` and some of them: a higher threshold is guessed from that, which lets far fewer
through. A guess that was too high shows at the end, by a k-th best below it; the block is then done again without.

The scores of whole blocks only screen, so they may be rounded: in bfloat16 where the processor multiplies that faster.
A candidate is dropped only if even the largest possible rounding error leaves it below the threshold; what remains is
scored in float32, pair by pair. Results therefore depend neither on block sizes nor on how the screening was done.

Shape key: B queries, I items, D width, k results, N items of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from interlingua.contracts.scorer import TopK
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError, DataError, at_least_one
from interlingua.progress import task
from interlingua.retrieval.screening import (
    GROUP,
    ITEM_BLOCK,
    QUERY_ROWS,
    faster_type,
    fraction_above,
    highest,
    lower_bound,
    most_of_the_best,
    rounding,
    where_set,
)

DENSE = 0.1
"""where more than this share of a block is above the threshold, the block's own k-th score is estimated first"""
PAIRS = 65_536
"""candidates scored at once"""
LARGEST = 1e15
"""values whose products cannot overflow float32"""
NOTHING = -torch.inf


def top_k(
    queries: Tensor,
    items: Tensor,
    k: int,
    *,
    bias: Tensor | None = None,
    seen: Queries | None = None,
    hidden: Tensor | None = None,
    query_block: int = QUERY_ROWS,
    item_block: int = ITEM_BLOCK,
    screen: torch.dtype | None = None,
) -> TopK:
    """The k largest of ``queries @ items.T + bias`` in each row, exactly.

    Memory beyond arguments and result: about ``4 * query_block * item_block`` bytes for items in random order, at most
    about ``120 * query_block * (k + item_block)`` whatever their order.

    Args:
        queries: (B, D)
        items: (I, D) on the same device; any float type, scores are float32.
        k: results per query; where it exceeds I, the result has I columns.
        bias: (I,) added to every query's scores, or None.
        seen: B queries whose own history must not come out.
        hidden: (I,) bool: items that must not come out for anybody.
        query_block: see :data:`QUERY_ROWS`.
        item_block: see :data:`ITEM_BLOCK`.
        screen: ``torch.float32`` or ``torch.bfloat16`` for whole blocks; None: the faster one. Changes no result.

    Returns:
        ``min(k, I)`` columns.

    Raises:
        ConfigError: k < 1, or shapes that do not fit.
        DataError: a value that is not finite, or above 1e15.
    """
    _check(queries, items, k, bias, seen, hidden, min(query_block, item_block))
    k = min(k, len(items))
    indices = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), NOTHING, np.float32)
    starts = range(0, len(queries) if k else 0, query_block)
    dtype = screen or faster_type(queries, items)
    guessing = True
    with torch.no_grad(), task("top-k", len(starts)) as shown:
        for start in starts:
            stop = min(start + query_block, len(queries))
            masked = _Masked(None if seen is None else seen.slice(start, stop), hidden)
            part = queries[start:stop].float()
            part = part if bias is None else torch.cat([part, part.new_ones(len(part), 1)], dim=1)
            best = _block(part, items, k, bias, masked, item_block, dtype, guessing)
            if guessing and not best.sound():
                guessing = False  # items in some order: the other blocks would fail as well
                best = _block(part, items, k, bias, masked, item_block, dtype, guessing)
            indices[start:stop], scores[start:stop] = best.indices.cpu().numpy(), best.scores.cpu().numpy()
            shown.advance()
    return TopK(indices, scores)


def _block(
    queries: Tensor,
    items: Tensor,
    k: int,
    bias: Tensor | None,
    masked: _Masked,
    item_block: int,
    screen: torch.dtype,
    guessing: bool,
) -> _Running:
    """One block of queries against all items."""
    width = -(-min(item_block, len(items)) // GROUP) * GROUP
    rough = queries.to(screen)
    scores = rough.new_empty(len(queries), width)
    spread = rounding(screen, queries.shape[1]) * queries.norm(dim=1)
    best = _Running.start(len(queries), k, queries.device)
    renew = 0
    for start in range(0, len(items), width):
        part = _columns(items, bias, slice(start, start + width))
        torch.mm(rough, part.to(screen).T, out=scores[:, : len(part)])
        scores[:, len(part) :] = NOTHING
        masked.apply(scores, start)
        norms = functional.pad(part.norm(dim=1), (0, width - len(part))).view(-1, GROUP).amax(dim=1)
        query, item = best.candidates(scores, spread[:, None] * norms[None, :] + 1e-30)
        best.collect(query, item + start, exact_scores(queries, items, bias, query, item + start))
        stop = start + len(part)
        if stop >= renew or stop == len(items) or best.crowded(max(width // 4, GROUP)):
            best.merge(stop / len(items) if guessing else 1.0)
            renew = 2 * stop
    return best


def _columns(items: Tensor, bias: Tensor | None, chosen: slice | Tensor) -> Tensor:
    """(n, D) float32 vectors of some items; with a bias (n, D + 1), to be met by a 1 in the queries."""
    part = items[chosen].float()
    return part if bias is None else torch.cat([part, bias[chosen, None].float()], dim=1)


def exact_scores(queries: Tensor, items: Tensor, bias: Tensor | None, query: Tensor, item: Tensor) -> Tensor:
    """(n,) float32 scores of pairs, each summed in the same order wherever it stands."""
    out = [
        (queries[q] * _columns(items, bias, i)).sum(dim=1)
        for q, i in zip(query.split(PAIRS), item.split(PAIRS), strict=True)
    ]
    return torch.cat(out) if out else queries.new_empty(0)


@dataclass
class _Running:
    """The best so far of one block of queries, and the candidates to replace them."""

    indices: Tensor
    """(B, k)"""
    scores: Tensor
    """(B, k), descending"""
    threshold: Tensor
    """(B,) only a higher score can enter: items come in ascending order, and of equal scores the lower row stays"""
    guess: Tensor
    """(B,) the largest threshold that was guessed"""
    counts: Tensor
    """(B,) waiting candidates"""
    waiting: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    """query, item index and score of candidates, items ascending within a query"""

    @classmethod
    def start(cls, queries: int, k: int, device: torch.device) -> _Running:
        """Nothing seen yet."""
        scores = torch.full((queries, k), NOTHING, device=device)
        indices = torch.full((queries, k), -1, device=device)
        none = scores[:, -1].clone()
        return cls(indices, scores, none, none.clone(), torch.zeros(queries, dtype=torch.int64, device=device))

    def sound(self) -> bool:
        """Whether no guess was too high: whatever was dropped for one is no better than the k-th best that was kept.

        Of equal scores the kept ones have lower rows: they were seen before the guess was made.
        """
        return bool((self.scores[:, -1] >= self.guess).all())

    def candidates(self, scores: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) queries and (n,) columns of the scores (B, N) that may be above the threshold, columns ascending.

        Args:
            scores: screened.
            error: (B, N / GROUP) how far off they may be.
        """
        k = self.indices.shape[1]
        groups = scores.view(len(scores), -1, GROUP)
        limit = self.threshold[:, None] - error
        peaks = highest(groups, limit)
        if (
            k < scores.shape[1]
            and fraction_above(peaks, limit) > 0.5
            and fraction_above(groups, limit[..., None]) > DENSE
        ):
            # nothing to compare with yet, or items in rising order: k of this block and their equals can matter
            least = lower_bound(scores.float(), k)[:, None] - error.amax(dim=1, keepdim=True)
            limit = torch.maximum(limit, least - error - 1e-6 * least.abs())
            peaks = highest(groups, limit)
        query, group = where_set(peaks > limit)
        hit, column = where_set(groups[query, group].float() > limit[query, group][:, None])
        return query[hit], group[hit] * GROUP + column

    def collect(self, query: Tensor, item: Tensor, score: Tensor) -> None:
        """Keeps those of the candidates (n,) that are above the threshold."""
        mask = score > self.threshold[query]
        self.waiting.append((query[mask], item[mask], score[mask]))
        self.counts += torch.bincount(query[mask], minlength=len(self.counts))

    def crowded(self, limit: int) -> bool:
        """Whether a query has more than ``limit`` waiting candidates: they must be merged to bound memory."""
        return bool(len(self.counts)) and int(self.counts.max()) > limit

    def merge(self, fraction: float) -> None:
        """Lets the waiting candidates compete with the best so far.

        Args:
            fraction: of all items, how many were seen; 1: nothing is guessed.
        """
        query, item, score = (torch.cat(parts) for parts in zip(*self.waiting, strict=True))
        order = torch.argsort(query, stable=True)
        query, item, score = query[order], item[order], score[order]
        k = self.indices.shape[1]
        first = self.counts.cumsum(0) - self.counts
        place = k + torch.arange(len(query), device=query.device) - first[query]
        width = k + int(self.counts.max()) if len(query) else k
        scores = self.scores.new_full((len(self.scores), width), NOTHING)
        indices = self.indices.new_full((len(self.indices), width), -1)
        scores[:, :k], indices[:, :k] = self.scores, self.indices
        scores[query, place], indices[query, place] = score, item
        ranked, at = scores.sort(dim=1, descending=True, stable=True)
        self.scores, self.indices = ranked[:, :k].contiguous(), indices.gather(1, at[:, :k])
        likely = most_of_the_best(k, fraction)
        if likely < k:
            self.guess = torch.maximum(self.guess, self.scores[:, likely - 1])
        self.threshold = torch.maximum(self.scores[:, -1], self.guess)
        self.counts.zero_()
        self.waiting.clear()


class _Masked:
    """Masked items for one block of queries, found per block of items without a (B, I) mask."""

    def __init__(self, seen: Queries | None, hidden: Tensor | None) -> None:
        self.hidden = hidden
        self.items: npt.NDArray[np.int64] | None = None
        if seen is not None:
            owner = np.repeat(np.arange(len(seen)), seen.lengths())
            order = np.argsort(seen.items, kind="stable")
            self.items, self.owner = seen.items[order].astype(np.int64), owner[order]

    def apply(self, scores: Tensor, start: int) -> None:
        """Sets the masked scores to minus infinity; column 0 is the item ``start``."""
        if self.hidden is not None:
            part = self.hidden[start : start + scores.shape[1]]
            scores[:, : len(part)].masked_fill_(part[None, :], NOTHING)
        if self.items is not None:
            low, high = np.searchsorted(self.items, [start, start + scores.shape[1]])
            owners = torch.as_tensor(self.owner[low:high], device=scores.device)
            columns = torch.as_tensor(self.items[low:high] - start, device=scores.device)
            scores[owners, columns] = NOTHING


def recall(found: npt.NDArray[np.int64], exact: npt.NDArray[np.int64]) -> float:
    """Mean share of the exact results that were found, over queries that have any.

    Args:
        found: (B, n) item indices, -1 for none.
        exact: (B, k) item indices, -1 for none.
    """
    fractions = []
    for got, expected in zip(found, exact, strict=True):
        expected = expected[expected >= 0]
        if len(expected):
            fractions.append(np.isin(expected, got).mean())
    return float(np.mean(fractions)) if fractions else float("nan")


def _check(
    queries: Tensor, items: Tensor, k: int, bias: Tensor | None, seen: Queries | None, hidden: Tensor | None, block: int
) -> None:
    at_least_one("k", k)
    if block < 1:
        raise ConfigError(f"query_block and item_block must be at least 1, got {block}")
    if queries.dim() != 2 or items.dim() != 2 or queries.shape[1] != items.shape[1]:
        raise ConfigError(
            f"queries of shape {tuple(queries.shape)} do not fit items of shape {tuple(items.shape)}: "
            "both must be matrices of the same width"
        )
    if seen is not None and len(seen) != len(queries):
        raise ConfigError(f"seen has {len(seen)} histories for {len(queries)} queries")
    for name, row in (("bias", bias), ("hidden", hidden)):
        if row is not None and tuple(row.shape) != (len(items),):
            raise ConfigError(f"{name} has shape {tuple(row.shape)}, expected ({len(items)},)")
    sides = [("queries", queries), ("items", items)] + ([("bias", bias)] if bias is not None else [])
    for name, table in sides:
        if not all(bool(part.abs().amax() < LARGEST) for part in _parts(table)):  # a NaN is not below anything
            raise DataError(f"{name} has values that are not finite, or above {LARGEST:g}: nothing to rank by")


def _parts(table: Tensor) -> Iterator[Tensor]:
    return iter(table.split(65_536)) if table.numel() else iter(())
