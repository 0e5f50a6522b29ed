"""The rows of a table most similar to one vector, by cosine, block by block for tables of any size.

Shape key: n rows, D width, k results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.scorer import BoolArray, TopK
from interlingua.data.queries import Queries
from interlingua.progress import track
from interlingua.retrieval.best import MOST_USERS, by_products, top_items

BLOCK = 65_536
"""rows of a table that are looked at together"""


def user_blocks(users: Callable[[Queries], Tensor], queries: Queries, size: int = MOST_USERS) -> Iterator[Tensor]:
    """(b, D) float32 vectors of queries on the CPU, ``size`` at once; one block at least."""
    for at in track(range(0, max(len(queries), 1), size), "user vectors"):
        with torch.no_grad():
            block = users(queries.slice(at, at + size)).detach().float().cpu()
        yield block


def alike(
    blocks: Iterable[Tensor], of: Tensor, k: int, *, row: int | None = None, allowed: BoolArray | None = None
) -> TopK:
    """The rows with the largest cosine above 0; of equal ones the lower comes first.

    Args:
        blocks: the table (n, D) in parts, in the order of its rows; only one part exists at a time.
        of: (D,) the vector to compare with; a zero vector is similar to nothing.
        k: how many at most.
        row: a row to leave out (the origin of ``of``).
        allowed: (n,) rows that may come out; None: all.

    Returns:
        (1, up to k) rows and cosines.
    """
    indices, cosines, start = np.zeros(0, np.int64), np.zeros(0, np.float32), 0
    query = functional.normalize(of.detach().float().cpu()[None], dim=1, eps=1e-12)
    for block in blocks:
        table = functional.normalize(block.detach().float().cpu(), dim=1, eps=1e-12)
        may = None if allowed is None else allowed[start : start + len(table)].copy()
        if row is not None and start <= row < start + len(table):
            may = np.ones(len(table), np.bool_) if may is None else may
            may[row - start] = False
        found = by_products(query, table, k, allowed=may)
        mask = found.scores[0] > 0  # minus infinity beside -1
        indices = np.concatenate([indices, found.indices[0][mask] + start])
        cosines = np.concatenate([cosines, found.scores[0][mask]])
        order = np.lexsort((indices, -cosines))[:k]
        indices, cosines, start = indices[order], cosines[order], start + len(table)
    return TopK(indices[None], cosines[None])


def alike_of_values(values: FloatArray, k: int, *, row: int | None = None, allowed: BoolArray | None = None) -> TopK:
    """:func:`alike` where the cosines (n,) with all rows exist already."""
    masked: npt.NDArray[np.float32] = np.where(values > 0, values, -np.inf).astype(np.float32)[None]
    if row is not None:
        masked[0, row] = -np.inf
    if allowed is not None:
        masked[0, ~allowed] = -np.inf
    indices = top_items(masked, k)
    indices = indices[:, indices[0] >= 0]
    return TopK(indices, masked[:, indices[0]])
