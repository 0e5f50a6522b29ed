"""Scores of pairs of queries and items that are no dot products: by blocks, so that hidden layers fit into memory.

Shape key: B queries, n items of a table, C candidates of a query.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from interlingua.contracts.batch import FloatArray

PAIRS = 32_768
"""pairs whose hidden layers are in memory at once: 4 MB for 32 hidden units"""

Place = slice | Tensor
"""items of a block: a stretch of the table, the same for all queries, or (b, C) each query's own"""


def in_blocks(queries: int, table_size: int, own: Tensor | None, pairs: Callable[[slice, Place], Tensor]) -> FloatArray:
    """(B, n) scores of the whole table, or (B, C) of each query's own items.

    Args:
        queries: B.
        table_size: n.
        own: (B, C) places in the table; None: all of it for every query.
        pairs: (queries, items) of a block -> their scores.
    """
    width = table_size if own is None else own.shape[1]
    out = np.empty((queries, width), np.float32)
    step = max(1, PAIRS // max(width, 1))
    for start in range(0, queries, step):
        some = slice(start, start + step)
        if own is None:
            for at in range(0, width, PAIRS):
                part = slice(at, at + PAIRS)
                out[some, part] = pairs(some, part).float().cpu().numpy()
        else:
            out[some] = pairs(some, own[some]).float().cpu().numpy()
    return out
