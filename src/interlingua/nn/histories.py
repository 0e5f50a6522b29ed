"""Histories of queries as a sparse matrix and as weighted sums of item vectors: shared by the closed-form models."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn import functional

from interlingua.contracts.batch import FloatArray
from interlingua.data.queries import IntArray, Queries


def history_matrix(queries: Queries, num_items: int) -> sp.csr_matrix:
    """(B, I) float32, 1 where a query's history has the item (repeats count once)."""
    ones = np.ones(len(queries.items), np.float32)
    parts = (ones, queries.items.copy(), queries.offsets.copy())  # scipy sorts in place: never the caller's histories
    out = sp.csr_matrix(parts, shape=(len(queries), num_items))
    out.sum_duplicates()
    out.data[:] = 1.0
    return out


def weighted_sum(history: sp.csr_matrix, table: Tensor) -> Tensor:
    """(B, D) ``history @ table`` on the table's device.

    Args:
        history: (B, I)
        table: (I, D)
    """
    if history.nnz == 0:
        return table.new_zeros(history.shape[0], table.shape[1])
    place = table.device
    return functional.embedding_bag(
        torch.as_tensor(history.indices, dtype=torch.int64, device=place),
        table,
        torch.as_tensor(history.indptr[:-1], dtype=torch.int64, device=place),
        mode="sum",
        per_sample_weights=torch.as_tensor(history.data, dtype=table.dtype, device=place),
    )


def recency_weights(queries: Queries, half_life: float | None) -> FloatArray:
    """(N,) weights over the flat histories that sum to 1 per query.

    Args:
        queries: B histories.
        half_life: events after which a weight halves (1 = each step back halves it); None: equal weights.
    """
    lengths = np.asarray(queries.lengths())
    ages = np.repeat(queries.offsets[1:], lengths) - 1 - np.arange(len(queries.items))
    raw = np.ones(len(ages)) if half_life is None else 0.5 ** (ages / half_life)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    total = np.bincount(owner, raw, minlength=len(lengths))
    return (raw / total[owner]).astype(np.float32)


def top_rows(matrix: sp.csr_matrix, keep: int) -> sp.csr_matrix:
    """The ``keep`` largest positive entries of each row; among equals the lower column stays."""
    matrix.sort_indices()
    chosen: list[IntArray] = []
    for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        row = matrix.data[start:stop]
        least = np.partition(row, len(row) - keep)[len(row) - keep] if len(row) > keep else 0.0
        above = np.flatnonzero(row > max(least, 0.0))
        if least > 0:
            above = np.union1d(above, np.flatnonzero(row == least)[: keep - len(above)])
        chosen.append(above + start)
    sizes = [len(columns) for columns in chosen]
    at = np.concatenate(chosen) if chosen else np.zeros(0, np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return sp.csr_matrix((matrix.data[at], matrix.indices[at], starts), shape=matrix.shape)


def pick(scores: FloatArray, items: IntArray | None) -> FloatArray:
    """(B, C) the candidates' columns of (B, I) scores, or all."""
    return scores if items is None else np.take_along_axis(scores, np.asarray(items, np.int64), axis=1)


def fold_in(items: Tensor, queries: Queries, weight: float, l2: float, learned: int | None = None) -> Tensor:
    """(B, D) user vectors that best give 1 to history items and 0 to others.

    ``(V_h' V_h + weight V'V + l2 I)^-1 V_h' 1``: present items count 1 + weight, absent ones ``weight``.

    Args:
        items: (I, D) vectors V.
        queries: B histories h.
        weight: of an absent item.
        l2: ridge weight.
        learned: so many of the items count when they are absent (None: all): those behind came after training.
    """
    history = history_matrix(queries, items.shape[0])
    eye = torch.eye(items.shape[1], device=items.device, dtype=items.dtype)
    absent = items[:learned]
    shared = weight * (absent.T @ absent) + l2 * eye
    out = weighted_sum(history, items)
    for row in range(len(queries)):
        own = items[
            torch.as_tensor(history.indices[history.indptr[row] : history.indptr[row + 1]], device=items.device)
        ]
        out[row] = torch.linalg.solve(shared + own.T @ own, out[row])
    return out
