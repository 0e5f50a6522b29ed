"""Item-based nearest neighbours: a score sums an item's similarities to the history (Deshpande & Karypis 2004).

Similarity is the dot product of item columns, weighted by cosine normalisation or BM25 (as the library ``implicit``
defines them, formulas in :func:`bm25`), cut to each item's top neighbours.

**Deviations:** of equal similarities the lower item index is kept; ``implicit`` keeps an arbitrary one. An item counts
among its own neighbours, as in ``implicit``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
from pydantic import Field
from torch import Tensor

from interlingua.config import Config
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries
from interlingua.nn.histories import history_matrix, pick, top_rows
from interlingua.progress import track

BLOCK = 1024
"""items whose similarities are held at once"""


class ItemKnnConfig(Config):
    """Options of :class:`ItemKnn`."""

    weighting: Literal["cosine", "bm25"] = "cosine"
    """``cosine``: columns of unit length; ``bm25``: rare users weigh more, popular items less"""
    neighbours: int = Field(default=20, ge=1)
    """similar items kept per item, itself included"""
    k1: float = Field(default=1.2, ge=0)
    """BM25: saturation"""
    b: float = Field(default=0.75, ge=0, le=1)
    """BM25: length normalisation, 0 to 1"""


class ItemKnn(Backbone):
    """Sums of item-item similarities over the history."""

    Config = ItemKnnConfig
    sampling = "none"
    without_events = 0.0

    values: Tensor
    columns: Tensor
    starts: Tensor

    def __init__(self, config: ItemKnnConfig, train: Interactions) -> None:
        super().__init__(config, train)
        self.register_buffer("values", torch.zeros(0))
        self.register_buffer("columns", torch.zeros(0, dtype=torch.int32))
        self.register_buffer("starts", torch.zeros(train.num_items + 1, dtype=torch.int64))

    def fit(self, job: Fitting) -> FitLog:
        """Similarities of all pairs of items, a block of items at a time."""
        train = job.train
        matrix = train.matrix()
        weighted = cosine(matrix) if self.config.weighting == "cosine" else bm25(matrix, self.config.k1, self.config.b)
        found = neighbours(weighted, self.config.neighbours)
        place = self.values.device
        self.values = torch.as_tensor(found.data, dtype=torch.float32, device=place)
        self.columns = torch.as_tensor(found.indices.astype(np.int32), device=place)
        self.starts = torch.as_tensor(found.indptr.astype(np.int64), device=place)
        return FitLog.untrained()

    def similarity(self) -> sp.csr_matrix:
        """(I, I) row i holds the neighbours of item i."""
        parts = (self.values.cpu().numpy(), self.columns.cpu().numpy(), self.starts.cpu().numpy())
        return sp.csr_matrix(parts, shape=(self.num_items, self.num_items))

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Sum over the history of each history item's similarities."""
        scores = history_matrix(queries, self.num_items) @ self.similarity()
        return pick(scores.toarray().astype(np.float32, copy=False), items)


def cosine(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """(U, I) item columns scaled to unit length; empty columns stay empty."""
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel())
    return sp.csr_matrix(matrix @ sp.diags(1.0 / np.where(norms > 0, norms, 1.0)))


def bm25(matrix: sp.csr_matrix, k1: float, b: float) -> sp.csr_matrix:
    """(U, I) BM25 weights with items as documents and users as terms.

    ``w[u, i] = x (k1 + 1) / (k1 n_i + x) * idf_u``, ``idf_u = ln I - ln(1 + items of u)``,
    ``n_i = 1 - b + b * users of i / mean users of an item``.
    """
    out = sp.coo_matrix(matrix, dtype=np.float64)
    idf = np.log(float(matrix.shape[1])) - np.log1p(np.bincount(out.row, minlength=matrix.shape[0]))
    lengths = np.asarray(matrix.sum(axis=0), np.float64).ravel()
    norm = (1.0 - b) + b * lengths / max(lengths.mean(), 1e-12)
    out.data = out.data * (k1 + 1.0) / (k1 * norm[out.col] + out.data) * idf[out.row]
    return sp.csr_matrix(out)


def neighbours(weighted: sp.csr_matrix, keep: int) -> sp.csr_matrix:
    """(I, I) the ``keep`` most similar items of each item by the dot product of columns, blockwise.

    Args:
        weighted: (U, I)
        keep: entries per row, at most; only positive similarities are kept.
    """
    columns = sp.csr_matrix(weighted.T)
    starts = range(0, weighted.shape[1], BLOCK)
    blocks = [
        top_rows(sp.csr_matrix(columns[at : at + BLOCK] @ weighted), keep) for at in track(starts, "item neighbours")
    ]
    return sp.csr_matrix(sp.vstack(blocks)) if blocks else sp.csr_matrix((0, 0), dtype=np.float32)
