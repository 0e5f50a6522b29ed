"""Accuracy as pure functions of the targets' ranks: exact definitions, checked against ranx.

Accuracy needs no list of recommendations: where each held-out item landed says everything. Every function takes
:class:`Ranks` and a cut-off ``k`` and returns one value per user, float64; a user without targets gets NaN (undefined,
not a zero that would pull the mean down). Relevance is binary.

Where several items share a score, a target has a *range* of positions. With the deterministic tie-break that is one
position; with ``ties=expected`` every order of the tied items is equally likely and the functions return the exact
expectation over these orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from interlingua.errors import ConfigError
from interlingua.retrieval.positions import NEVER, Positions

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ranks:
    """Positions of M users' targets, counted from 1, in CSR form."""

    first: Positions
    """(T,) best position of each target among the items that share its score"""
    last: Positions
    """(T,) worst such position; equal to ``first`` where ties are broken"""
    offsets: Positions
    """(M + 1,) user ``m`` has targets ``offsets[m]:offsets[m + 1]``"""

    @classmethod
    def of(cls, ranks: Sequence[Sequence[int]]) -> Ranks:
        """From one list of ranks per user, without ties.

        Raises:
            ConfigError: a rank below 1, or the same rank twice for one user.
        """
        flat = np.asarray([r for row in ranks for r in row], np.int64)
        if (flat < 1).any():
            raise ConfigError(f"ranks count from 1; got {int(flat.min())}")
        if any(len(set(row)) < len(row) for row in ranks):
            raise ConfigError("two targets of one user share a rank: pass each target once")
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in ranks])]).astype(np.int64)
        return cls(flat, flat, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> Positions:
        """(M,) targets per user."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Positions:
        """(T,) position of the user to whom each target belongs."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def tied(self) -> bool:
        """Whether any target shares its score with another item."""
        return bool((self.first != self.last).any())

    def keep(self, targets: npt.NDArray[np.bool_]) -> tuple[Ranks, Positions]:
        """Ranks of the marked targets only, for users who have one; ranks are unchanged.

        Returns:
            The ranks, and the positions of the users that remain.
        """
        counts = np.bincount(self.owners[targets], minlength=len(self))
        users = np.flatnonzero(counts)
        offsets = np.concatenate([[0], np.cumsum(counts[users])]).astype(np.int64)
        return Ranks(self.first[targets], self.last[targets], offsets), users


def _per_user(ranks: Ranks, per_target: npt.NDArray[Any]) -> Values:
    """(M,) sums of per-target values."""
    return np.bincount(ranks.owners, weights=per_target, minlength=len(ranks)).astype(np.float64)


def _divide(above: Values, below: npt.NDArray[np.number]) -> Values:
    """NaN where a user has nothing to divide by."""
    out = np.full(len(above), np.nan)
    np.divide(above, below, out=out, where=np.asarray(below) > 0)
    return out


def _within(ranks: Ranks, k: int) -> Values:
    """(T,) probability that a target stands in the first k positions (0 or 1 without ties)."""
    inside = np.clip(k - ranks.first + 1, 0, None).astype(np.float64)
    return np.minimum(inside / (ranks.last - ranks.first + 1), 1.0)


def _first_hit(ranks: Ranks, k: int) -> Values:
    """(M, k) probability that a user's best target stands at position 1..k.

    A tie group of E items holds t of the user's targets at random places: the best of them is the j-th of the group
    with probability C(E - j, t - 1) / C(E, t). Only the group of the best position can hold the user's first hit.
    """
    best = np.full(len(ranks), NEVER, np.int64)
    np.minimum.at(best, ranks.owners, ranks.first)
    in_best = ranks.first == best[ranks.owners]
    t = np.bincount(ranks.owners[in_best], minlength=len(ranks))[:, None].astype(np.float64)
    size = np.ones(len(ranks))
    size[ranks.owners[in_best]] = (ranks.last - ranks.first + 1)[in_best]
    j = np.arange(1, k + 1)[None, :] - best[:, None] + 1.0
    possible = (j >= 1) & (j <= size[:, None] - t + 1) & (t > 0)
    rest = np.where(possible, size[:, None] - j, 0.0)
    t, size = np.where(possible, t, 1.0), np.where(possible, size[:, None], 1.0)
    return np.where(possible, np.exp(_log_comb(rest, t - 1) - _log_comb(size, t)), 0.0)


def _log_comb(n: Values, r: Values) -> Values:
    return gammaln(n + 1) - gammaln(r + 1) - gammaln(np.maximum(n - r, 0) + 1)


def recall(ranks: Ranks, k: int) -> Values:
    """Share of a user's targets in the first k: ``|targets in top k| / |targets|``."""
    return _divide(_per_user(ranks, _within(ranks, k)), ranks.counts)


def precision(ranks: Ranks, k: int) -> Values:
    """Share of the first k that are targets: ``|targets in top k| / k``; k is the divisor even beyond the catalogue."""
    out = _per_user(ranks, _within(ranks, k)) / k
    out[ranks.counts == 0] = np.nan
    return out


def hit(ranks: Ranks, k: int) -> Values:
    """1 where at least one target is in the first k, else 0 (with one target: recall)."""
    out = np.minimum(_first_hit(ranks, k).sum(1), 1.0) if ranks.tied else _untied_hit(ranks, k)
    out[ranks.counts == 0] = np.nan
    return out


def _untied_hit(ranks: Ranks, k: int) -> Values:
    return (_per_user(ranks, ranks.first <= k) > 0).astype(np.float64)


def mrr(ranks: Ranks, k: int) -> Values:
    """Reciprocal rank of the best target: ``1 / rank`` where that is within k, else 0."""
    if ranks.tied:
        out = _first_hit(ranks, k) @ (1.0 / np.arange(1, k + 1))
    else:
        best = np.full(len(ranks), NEVER, np.int64)
        np.minimum.at(best, ranks.owners, ranks.first)
        out = np.where(best <= k, 1.0 / best, 0.0)
    out[ranks.counts == 0] = np.nan
    return out


def ndcg(ranks: Ranks, k: int) -> Values:
    """``DCG@k / IDCG@k`` with gain 1 and discount ``1 / log2(rank + 1)``.

    IDCG is the DCG of the best possible list: the first ``min(k, |targets|)`` positions (Järvelin & Kekäläinen 2002,
    the discount of Burges et al. 2005; the form that ranx, RecBole and the RLMRec authors use).
    """
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    cumulative = np.concatenate([[0.0], np.cumsum(discounts)])
    if ranks.tied:
        low, high = np.minimum(ranks.first - 1, k), np.minimum(ranks.last, k)
        gains = (cumulative[high] - cumulative[low]) / (ranks.last - ranks.first + 1)
    else:
        gains = np.where(ranks.first <= k, discounts[np.minimum(ranks.first, k) - 1], 0.0)
    return _divide(_per_user(ranks, gains), cumulative[np.minimum(ranks.counts, k)])


def average_precision(ranks: Ranks, k: int) -> Values:
    """Sum of precision@rank over the targets in the first k, divided by ``|targets|`` (ranx' and trec_eval's MAP@k).

    Some libraries divide by ``min(k, |targets|)`` instead: such numbers are higher and not comparable.

    Raises:
        ConfigError: tied ranks of a user with several targets; the expectation has no simple form.
    """
    counts = ranks.counts
    if ranks.tied:
        if counts.max(initial=0) > 1:
            raise ConfigError("map@k is not defined for ties=expected with several targets per user; use ties=row")
        return mrr(ranks, k)
    owners = ranks.owners
    order = np.lexsort((ranks.first, owners))
    sorted_ranks, place = ranks.first[order], np.arange(len(order)) - np.repeat(ranks.offsets[:-1], counts) + 1
    gains = np.zeros(len(order))
    gains[order] = np.where(sorted_ranks <= k, place / sorted_ranks, 0.0)
    return _divide(_per_user(ranks, gains), counts)
