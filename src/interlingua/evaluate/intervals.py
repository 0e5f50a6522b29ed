"""Bootstrap over users: how far a mean could have been elsewhere with other users of the same kind."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

RESAMPLES = 1000
"""enough for two digits of a 95 % interval"""


def bootstrap_means(values: Values, *, resamples: int = RESAMPLES, seed: int = 0) -> Values:
    """Means of ``resamples`` samples of users drawn with replacement.

    Users with equal rows are drawn together as one multinomial count: the same distribution as drawing indices, but the
    work grows with the number of *different* rows, and per-user metrics take few values.

    Args:
        values: (M, K) one row per user.
        resamples: R.
        seed: equal seeds give bitwise equal results.

    Returns:
        (R, K) means.
    """
    users = len(values)
    if users == 0:
        return np.full((resamples, values.shape[1]), np.nan)
    distinct, counts = np.unique(values, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    out = np.empty((resamples, values.shape[1]))
    step = max(1, 4_000_000 // len(distinct))  # at most 32 MB of counts at a time
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = generator.multinomial(users, counts / users, size=size)
        out[start : start + size] = drawn @ distinct / users
    return out


def intervals(
    values: dict[str, Values], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap interval of each metric's mean over users.

    Args:
        values: metric -> (M,) values without NaN.
        level: coverage.
        resamples: number of resamples.
        seed: of the resampling.
    """
    if not values:
        return {}
    tail = (1 - level) / 2
    means = bootstrap_means(np.stack(list(values.values()), axis=1), resamples=resamples, seed=seed)
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(values)}
