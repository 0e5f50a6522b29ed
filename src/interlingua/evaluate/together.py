"""Intervals of metrics that are one number for all users together: a bootstrap with a weight for each user.

A resample holds some users several times and others not at all. A count of distinct things (coverage) is smaller in
every resample than in the sample, so the resamples are shifted until their mean is the sample's number.

Shape key: R resamples, M users.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from interlingua.evaluate.judged import Judged
from interlingua.evaluate.named import parse
from interlingua.progress import task

RESAMPLES = 200
"""fewer than for means, because each needs a pass over all pairs or all items"""
CELLS = 4_000_000
"""most weights of users, pairs or items in memory at once: 32 MB"""


def intervals_together(
    judged: Judged, numbers: dict[str, float], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Name -> interval of each metric that can weigh users (:meth:`Metric.weighed`).

    Args:
        judged: the evaluation on which the numbers were measured.
        numbers: metric -> its number for all users together; an undefined one has no interval.
        level: coverage.
        resamples: R, at most :data:`RESAMPLES`.
        seed: equal seeds give equal intervals.
    """
    names = [name for name, number in numbers.items() if np.isfinite(number) and parse(name)[0].weighs]
    users = judged.num_users
    if not names or not users or resamples < 1:
        return {}
    rounds = min(resamples, RESAMPLES)
    size = max(1, CELLS // max(users, judged.num_cells))
    generator, found = np.random.default_rng(seed), {name: np.empty(rounds) for name in names}
    with task("bootstrap of numbers", rounds) as shown:
        for start in range(0, rounds, size):
            stop = min(start + size, rounds)
            drawn = (generator.integers(users, size=users) for _ in range(start, stop))
            weights = np.stack([np.bincount(each, minlength=users) for each in drawn]).astype(np.float64)
            for name in names:
                metric, k = parse(name)
                found[name][start:stop] = metric.weighed(judged, k, weights)
            shown.advance(stop - start)
    return {name: _interval(found[name], numbers[name], level) for name in names if np.isfinite(found[name]).any()}


def _interval(values: Sequence[float] | np.ndarray, number: float, level: float) -> tuple[float, float]:
    """Quantiles of the resamples, shifted so that their mean is the number."""
    tail = (1 - level) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail]) + (number - np.nanmean(values))
    return float(low), float(high)
