"""Nearest neighbours by item text alone. Works for items without events.

``user``: a user is the mean (or recency-weighted mean) of the history's text vectors, a score is its dot product with
an item's vector. ``item``: a score is the sum of the candidate's similarities to the history items, cut to the nearest.

Shape key: B queries, I items, T text width.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from interlingua.config import Config
from interlingua.contracts.added import AddedItems
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded, FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import ConfigError
from interlingua.nn.histories import history_matrix, pick, recency_weights
from interlingua.progress import track

QUERY_ROWS = 256
"""queries scored at once by the item variant"""


class TextKnnConfig(Config):
    """Options of :class:`TextKnn`."""

    variant: Literal["user", "item"] = "user"
    """compare items with the mean of the history, or with each of its items"""
    half_life: float | None = Field(default=None, gt=0)
    """``user``: events after which a history item's weight halves (None: plain mean)"""
    centred: bool = True
    """subtract the mean text vector first: encoders put all texts of a domain into a narrow cone"""
    neighbours: int = Field(default=50, ge=1)
    """``item``: similar items kept per history item, itself included"""


class TextKnn(Backbone):
    """Scores from the text vectors of the history's items."""

    Config = TextKnnConfig
    sampling = "none"
    needs_text = True

    @classmethod
    def makes(cls, config: TextKnnConfig) -> frozenset[str]:
        """Makes vectors, except for sums over neighbours (``item``): these are no dot product."""
        return super().makes(config) - ({"dot_product"} if config.variant == "item" else set())

    vectors: Tensor
    near: Tensor
    similar: Tensor

    def __init__(self, config: TextKnnConfig, train: Interactions) -> None:
        super().__init__(config, train)
        self.register_buffer("vectors", torch.zeros(train.num_items, 0))
        self.register_buffer("near", torch.zeros(train.num_items, 0, dtype=torch.int64))
        self.register_buffer("similar", torch.zeros(train.num_items, 0))

    @torch.no_grad()
    def fit(self, job: Fitting) -> FitLog:
        """Centres and normalises the text vectors; for ``item`` also finds each item's neighbours.

        Raises:
            ConfigError: no texts were given, or not one row per item.
        """
        text = job.text
        if text is None:
            raise ConfigError(
                "textknn reads item texts, but the recipe has no [text] section; add one, e.g. name = 'lsa'"
            )
        vectors = text.rows("items").detach().float()
        if vectors.shape[0] != self.num_items:
            raise ConfigError(
                f"textknn got {vectors.shape[0]} text vectors for {self.num_items} items: one row per item"
            )
        self.vectors = unit_rows(vectors, self.config.centred).to(self.vectors.device)
        if self.config.variant == "item":
            self.similar, self.near = nearest(self.vectors, self.config.neighbours)
        return FitLog.untrained()

    @torch.no_grad()
    def extended(self, added: AddedItems) -> TextKnn | None:
        """New rows of the table, less the mean of the fitted texts; of ``item`` also new neighbours of every item."""
        if added.text is None or added.job.text is None:
            return None
        vectors = torch.cat([self.vectors, self._unit(added.text, added.job)])
        if self.config.variant == "user":
            return self.longer(added, vectors=vectors)
        similar, near = with_new(self.vectors, vectors, self.similar, self.near, self.config.neighbours)
        return self.longer(added, vectors=vectors, similar=similar, near=near)

    @torch.no_grad()
    def retold(self, indices: Tensor, text: Tensor, job: Fitting) -> TextKnn:
        """Other rows of the table, less the mean of the fitted texts; of ``item`` also the neighbours anew."""
        vectors = self.vectors.index_copy(0, indices.to(self.vectors.device), self._unit(text, job))
        other = self.longer(AddedItems(0, job), vectors=vectors)
        if self.config.variant == "item":
            other.similar, other.near = nearest(vectors, self.config.neighbours)
        return other

    def _unit(self, text: Tensor, job: Fitting) -> Tensor:
        """(n, T) unit rows of texts that came later."""
        new = text.float()
        if self.config.centred and self.num_items and job.text is not None:
            new = shifted(new, job.text.rows("items").detach().float().mean(0))
        return functional.normalize(new, dim=1).to(self.vectors)

    def input_embeddings(self) -> Embeddings:
        """The text vectors."""
        return Embeddings(None, self.vectors)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """Means of the batch's histories."""
        if batch.histories is None:
            raise ConfigError("textknn needs batches with histories: use last_position_batches")
        histories = batch.histories.cpu().numpy()
        return Encoded(inputs, self.user_embeddings(Queries.of([row[row >= 0] for row in histories])))

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, T) weighted means of the history's vectors; zero for an empty history."""
        if not len(queries.items):
            return self.vectors.new_zeros(len(queries), self.vectors.shape[1])
        place = self.vectors.device
        return functional.embedding_bag(
            torch.as_tensor(np.asarray(queries.items, np.int64), device=place),
            self.vectors,
            torch.as_tensor(np.asarray(queries.offsets[:-1], np.int64), device=place),
            mode="sum",
            per_sample_weights=torch.as_tensor(recency_weights(queries, self.config.half_life), device=place),
        )

    def item_embeddings(self) -> Tensor:
        """(I, T) normalised text vectors."""
        return self.vectors

    def score_unseen(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """The same scores: only texts are read."""
        return self.score(queries, items)

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Dot products (``user``) or summed similarities (``item``)."""
        if self.config.variant == "user":
            return super().score(queries, items)
        near, similar = self.near.cpu().numpy(), self.similar.cpu().numpy()
        blocks = []
        for start in range(0, len(queries), QUERY_ROWS):
            history = history_matrix(queries.slice(start, start + QUERY_ROWS), self.num_items)
            owner = np.repeat(np.arange(history.shape[0]), np.diff(history.indptr))
            flat = owner[:, None] * self.num_items + near[history.indices]
            summed = np.bincount(flat.ravel(), similar[history.indices].ravel(), history.shape[0] * self.num_items)
            blocks.append(summed.reshape(-1, self.num_items).astype(np.float32))
        scores = np.concatenate(blocks) if blocks else np.zeros((0, self.num_items), np.float32)
        return pick(scores, items)


def unit_rows(vectors: Tensor, centred: bool) -> Tensor:
    """(I, T) rows of length 1, after subtracting their mean if ``centred``; zero rows stay zero: they say nothing."""
    return shifted(vectors, vectors.mean(0)) if centred and len(vectors) else functional.normalize(vectors, dim=1)


def shifted(vectors: Tensor, mean: Tensor) -> Tensor:
    """(n, T) rows of length 1, less ``mean`` (T); zero rows stay zero, or all that say nothing would be alike."""
    return functional.normalize((vectors - mean) * vectors.any(dim=1, keepdim=True), dim=1)


def nearest(vectors: Tensor, keep: int, block: int = 1024) -> tuple[Tensor, Tensor]:
    """Similarities and indices, both (I, keep), of each item's nearest items; negative similarities count as 0.

    Args:
        vectors: (I, T) unit rows.
        keep: neighbours, the item itself included.
        block: items compared at once.
    """
    keep = min(keep, len(vectors))
    values, indices = [], []
    for start in track(range(0, len(vectors), block), "item neighbours"):
        found = torch.topk(vectors[start : start + block] @ vectors.T, keep, dim=1)
        values.append(found.values.clamp(min=0))
        indices.append(found.indices)
    return torch.cat(values), torch.cat(indices)


def with_new(old: Tensor, vectors: Tensor, similar: Tensor, near: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """:func:`nearest` of (I + n, T) vectors, where that of the first (I, T) is known: (I + n, keep) each.

    Args:
        old: (I, T) unit rows.
        vectors: (I + n, T), the same and n new ones.
        similar: (I, k) from :func:`nearest` of ``old``.
        near: (I, k).
        keep: as for :func:`nearest`.
    """
    keep, count = min(keep, len(vectors)), len(old)
    theirs = (old @ vectors[count:].T).clamp(min=0)
    values, places = torch.topk(torch.cat([similar, theirs], dim=1), keep, dim=1)
    indices = torch.cat([near, torch.arange(count, len(vectors), device=near.device).expand(count, -1)], dim=1)
    own = torch.topk(vectors[count:] @ vectors.T, keep, dim=1)
    return torch.cat([values, own.values.clamp(min=0)]), torch.cat([indices.gather(1, places), own.indices])
