"""Sets of whole numbers as sorted arrays.

NumPy 2.3 and later find distinct values by a hash table, which takes a hundred times as long as sorting a million
numbers here; sorting gives the same arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]


def distinct(values: npt.NDArray[np.integer[Any]]) -> Int64:
    """(m,) the different values of an array of any shape, ascending."""
    ordered = np.sort(np.asarray(values, np.int64), axis=None)
    new = np.ones(len(ordered), bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return ordered[new]


def among(values: npt.NDArray[np.integer[Any]], table: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
    """Whether each of the ``values`` (any shape) is in ``table`` (n,), in whatever order that is."""
    ordered = np.sort(np.asarray(table, np.int64), axis=None)
    if not len(ordered):
        return np.zeros(np.shape(values), bool)
    at = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return np.asarray(ordered[at] == values)
