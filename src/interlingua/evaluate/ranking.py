"""Ranks of targets by counting the items above them: exact, no sorting, memory of one block of users."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.scorer import Scorer
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import DataError
from interlingua.evaluate.candidates import SampledCandidates
from interlingua.retrieval.positions import NEVER, Positions


def checked(scores: FloatArray, shape: tuple[int, int], scorer: Scorer) -> FloatArray:
    """The scores, if they have the right shape and no NaN.

    Raises:
        DataError: the scores cannot be ranked.
    """
    name = type(scorer).__name__
    if scores.shape != shape:
        raise DataError(f"{name}.score returned shape {scores.shape}; expected (queries, items) = {shape}")
    with np.errstate(invalid="ignore", over="ignore"):
        total = scores.sum()  # NaN if any score is, or if infinities cancel: only then look at each
    if np.isnan(total) and np.isnan(scores).any():
        row = int(np.isnan(scores).any(1).argmax())
        raise DataError(f"{name}.score returned NaN (first in row {row} of a block of {shape[0]}): nothing to rank")
    return scores


def in_full(
    scores: FloatArray, targets: IntArray, owners: IntArray, seen: Queries, *, expected: bool
) -> tuple[Positions, Positions]:
    """First and last positions of targets among all items that their users have not seen.

    Position = 1 + items with a higher score + items with an equal score and a lower row. With ``expected`` equal scores
    give a range instead. A target that is itself among the seen items gets :data:`NEVER`.

    Args:
        scores: (B, I), only read (it may be a view of the scorer's own memory).
        targets: (T,) item indices.
        owners: (T,) row of ``scores`` of each target.
        seen: B queries whose items are masked, each item once.
        expected: see above.

    Returns:
        (T,) first and (T,) last positions, from 1.
    """
    width = scores.shape[1]
    own = scores[owners, targets]
    above, equal = np.empty(len(targets), np.int64), np.zeros(len(targets), np.int64)
    flags = np.empty(width, bool)
    for i, (row, target) in enumerate(zip(owners, targets, strict=True)):
        if expected:
            np.greater(scores[row], own[i], out=flags)
            above[i] = np.count_nonzero(flags)
            np.equal(scores[row], own[i], out=flags)
            equal[i] = np.count_nonzero(flags) - 1
        else:  # one pass: ties count before the target's row and not after it
            np.greater_equal(scores[row, :target], own[i], out=flags[:target])
            np.greater(scores[row, target:], own[i], out=flags[target:])
            above[i] = np.count_nonzero(flags)
    hidden = seen.take(owners)  # seen items of each target's user: taken off again instead of masked
    at = np.repeat(np.arange(len(targets)), hidden.lengths())
    values, limit, item = scores[owners[at], hidden.items], own[at], hidden.items
    same = values == limit
    higher = (values > limit) if expected else (values > limit) | (same & (item < targets[at]))
    above -= np.bincount(at[higher], minlength=len(targets))
    itself = item == targets[at]
    equal -= np.bincount(at[same & ~itself], minlength=len(targets)) if expected else 0
    first, last = above + 1, above + 1 + equal
    never = np.bincount(at[itself], minlength=len(targets)) > 0
    first[never] = last[never] = NEVER
    return first, last


def in_candidates(
    scores: FloatArray, candidates: SampledCandidates, targets: IntArray, owners: IntArray, *, expected: bool
) -> tuple[Positions, Positions]:
    """First and last positions of targets among their users' candidates (see :func:`in_full`).

    Args:
        scores: (B, C) of ``candidates``.
        candidates: what was scored.
        targets: (T,) item indices, each among its user's candidates.
        owners: (T,) row of each target.
        expected: see :func:`in_full`.
    """
    items, real = candidates.items[owners], candidates.real[owners]
    values = scores[owners]
    place = ((items == targets[:, None]) & real).argmax(1)
    own = values[np.arange(len(targets)), place][:, None]
    same = (values == own) & real & (items != targets[:, None])
    above = ((values > own) & real).sum(1).astype(np.int64)
    if expected:
        return above + 1, above + 1 + same.sum(1).astype(np.int64)
    first = above + 1 + (same & (items < targets[:, None])).sum(1).astype(np.int64)
    return first, first


def distinct(queries: Queries) -> Queries:
    """The same queries with each item of a history once, ascending: the items to mask."""
    lengths = queries.lengths()
    if not len(queries.items):
        return queries
    base = int(queries.items.max()) + 1
    pairs = np.sort(np.repeat(np.arange(len(queries)), lengths) * base + queries.items.astype(np.int64))
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]  # a sort costs a quarter of numpy's own unique
    counts: npt.NDArray[np.int64] = np.bincount(pairs // base, minlength=len(queries))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Queries(queries.users, (pairs % base).astype(np.int32), offsets)
