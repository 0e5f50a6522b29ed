"""What metrics over lists share: means over the places of a list that hold an item."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from interlingua.evaluate.accuracy import Values


def mean_over(lists: npt.NDArray[np.int64], of_item: npt.NDArray[np.floating | np.integer | np.bool_]) -> Values:
    """(M,) mean of a value (I,) of items over each (M, k) list; empty places (-1) do not count, NaN if all are."""
    real = lists >= 0
    total = np.where(real, np.asarray(of_item, np.float64)[lists], 0.0).sum(axis=1)
    count = real.sum(axis=1)
    out = np.full(len(lists), np.nan)
    np.divide(total, count, out=out, where=count > 0)
    return out


def mean_over_pairs(lists: npt.NDArray[np.int64], apart: npt.NDArray[np.floating]) -> Values:
    """(M,) mean of ``apart`` (M, k, k) over the pairs of different places; NaN marks a pair that says nothing."""
    real = (lists >= 0)[:, :, None] & (lists >= 0)[:, None, :] & np.triu(np.ones(apart.shape[1:], bool), 1)
    real &= ~np.isnan(apart)
    count = real.sum(axis=(1, 2))
    total = np.where(real, apart, 0.0).sum(axis=(1, 2))
    out = np.full(len(lists), np.nan)
    np.divide(total, count, out=out, where=count > 0)
    return out
