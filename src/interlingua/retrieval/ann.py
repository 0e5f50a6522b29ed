"""Approximate top-k by dot product: an HNSW graph over item vectors (usearch), candidates re-scored exactly.

Source: Malkov & Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small
World graphs", arXiv 1603.09320; links follow the dot product itself, which on vectors of unequal length finds more
than the reduction to cosine by an added dimension (measured: recall@10 .90 against .12 on 50,000 vectors).

Shape key: B queries, I items, D width, k results.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from interlingua.config import Config
from interlingua.contracts.batch import FloatArray
from interlingua.contracts.scorer import BoolArray, Scorer, TopK, Towers
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import ArtifactError, ConfigError, MissingExtraError, at_least_one
from interlingua.retrieval.best import FEW, by_products, scored

FILE = "items.usearch"
MARGIN = 1.5
"""factor on the expected number of candidates if some items are hidden from everybody"""


class AnnConfig(Config):
    """Options of :class:`Ann`."""

    connectivity: int = Field(default=16, ge=2)
    """links of an item in the graph (the paper's M)"""
    expansion_add: int = Field(default=128, ge=1)
    """candidates looked at when an item is added (efConstruction): build time against recall"""
    expansion_search: int = Field(default=64, ge=1)
    """candidates looked at in a search (ef): search time against recall"""
    threads: int = Field(default=1, ge=0)
    """while building: 1 gives the same graph every time; 0 uses every core, and the graph depends on their timing"""


class Ann(Scorer):
    """A graph index with the vectors that it was made from; over a scorer it is a scorer itself, and can serve.

    :func:`interlingua.retrieval.best.best` asks it for lists.
    """

    def __init__(self, index: Any, items: Tensor, config: AnnConfig, scorer: Scorer | None = None) -> None:
        self.index, self.items, self.config, self._scorer = index, items, config, scorer
        self.num_items = len(items)

    @classmethod
    def build(cls, items: Tensor, config: AnnConfig | None = None) -> Ann:
        """An index of (I, D) item vectors; row numbers are the keys.

        Raises:
            MissingExtraError: usearch is not installed.
        """
        config = config or AnnConfig()
        vectors = items.detach().float().cpu()
        index = _empty(vectors.shape[1], config)
        if len(vectors):
            index.add(np.arange(len(vectors), dtype=np.uint64), vectors.numpy(), threads=config.threads)
        return cls(index, vectors, config)

    @classmethod
    def of(cls, scorer: Scorer, config: AnnConfig | None = None, folder: Path | None = None) -> Ann:
        """An index over what a scorer ranks by, built now or read from a folder (see :meth:`load`).

        Raises:
            ConfigError: the scorer ranks by something else than dot products.
        """
        towers = scorer.towers()
        if towers is None:
            raise ConfigError(
                f"{type(scorer).__name__} does not score by dot products of vectors, so nothing can be indexed; "
                "leave the index out, and the search is exact, in bounded memory"
            )
        items = towers.folded().items
        made = cls.build(items, config) if folder is None else cls.load(folder, items, config)
        made._scorer = scorer
        return made

    def extended(self, scorer: Scorer) -> Ann:
        """The same graph for a scorer of more items: those behind the graph's own are looked at in every search.

        Raises:
            ConfigError: its vectors have another width than the graph's, or it has none.
        """
        towers = scorer.towers()
        items = None if towers is None else towers.folded().items
        if items is None or items.shape[1] != self.items.shape[1]:
            raise ConfigError("the index was made of other vectors than these; leave the index out, or make it anew")
        return Ann(self.index, items, self.config, scorer)

    @property
    def scorer(self) -> Scorer:
        """The indexed scorer.

        Raises:
            ConfigError: plain vectors were.
        """
        if self._scorer is None:
            raise ConfigError("this index was made from plain vectors; make one that can score with Ann.of(scorer)")
        return self._scorer

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """The indexed scorer's own scores."""
        return self.scorer.score(queries, items)

    def towers(self) -> Towers | None:
        """Those of the indexed scorer."""
        return self.scorer.towers()

    def score_unseen(self, queries: Queries, items: IntArray | None = None) -> FloatArray | None:
        """The indexed scorer's :meth:`score_unseen`."""
        return self.scorer.score_unseen(queries, items)

    def with_repeats(self) -> Ann:
        """The same graph over the scorer's :meth:`with_repeats`."""
        return Ann(self.index, self.items, self.config, self.scorer.with_repeats())

    def best(
        self, queries: Queries, k: int, *, allowed: BoolArray | None = None, repeat: bool = False,
        seen: Queries | None = None,
    ) -> TopK | None:  # fmt: skip
        """The k best that the graph finds, with the scorer's scores (see :func:`interlingua.retrieval.best.best`).

        None where the scorer has no vectors that rank so (see :meth:`with_repeats`): the caller searches.
        """
        towers = self.towers()
        if towers is None:
            return None
        with torch.no_grad():
            users = towers.folded_users(queries).detach().float().cpu()
        seen = queries if seen is None else seen
        found = self.search(users, k, seen=None if repeat else seen, allowed=allowed)
        return found if towers.exact else scored(self.scorer, queries, found)

    def search(self, queries: Tensor, k: int, *, seen: Queries | None = None, allowed: BoolArray | None = None) -> TopK:
        """The k best that the graph finds for each of (B, D) queries, scored exactly.

        Queries that the graph finds too few for, and all queries where few items are allowed, are searched exactly.

        Args:
            queries: (B, D)
            k: results per query, at most I are given.
            seen: B queries whose own history must not come out: so many more candidates are fetched.
            allowed: (I,) items that may come out; None: all.

        Returns:
            As :func:`interlingua.retrieval.topk.top_k`.
        """
        at_least_one("k", k)
        k, vectors = min(k, len(self.items)), queries.detach().float().cpu()
        if not len(queries) or not k:
            return TopK(np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32))
        fraction = 1.0 if allowed is None else float(allowed.mean())
        more = 0 if seen is None else int(seen.lengths().max(initial=0))
        fetched = (
            len(self.items)
            if fraction <= FEW
            else math.ceil((k + more) / fraction * (1.0 if fraction == 1 else MARGIN))
        )
        if 2 * fetched > len(self.items):
            return by_products(vectors, self.items, k, seen=seen, allowed=allowed)
        out = self._in_graph(vectors, k, fetched, seen, allowed)
        short = np.flatnonzero((out.indices < 0).any(axis=1))
        if len(short):
            rest = None if seen is None else seen.take(short)
            exact = by_products(vectors[torch.from_numpy(short)], self.items, k, seen=rest, allowed=allowed)
            out.indices[short], out.scores[short] = exact.indices, exact.scores
        return out

    def _in_graph(self, vectors: Tensor, k: int, fetched: int, seen: Queries | None, allowed: BoolArray | None) -> TopK:
        """The k best of ``fetched`` candidates of the graph that may come out; -1 where there are fewer."""
        found = self.index.search(vectors.numpy(), fetched, threads=1)
        keys = found.keys.reshape(len(vectors), -1).astype(np.int64)
        counts = np.array([keys.shape[1]]) if len(vectors) == 1 else found.counts  # of one query there is no table
        real = np.arange(keys.shape[1])[None, :] < counts[:, None]
        later = np.tile(np.arange(len(self.index), len(self.items)), (len(vectors), 1))
        keys, real = np.hstack([keys, later]), np.hstack([real, np.ones(later.shape, np.bool_)])
        keys = np.where(real, keys, 0)
        scores = torch.einsum("bd,bkd->bk", vectors, self.items[torch.from_numpy(keys)]).numpy()
        if allowed is not None:
            real &= allowed[keys]
        for row in range(len(vectors)) if seen is not None else ():
            real[row] &= ~np.isin(keys[row], seen.history(row))  # type: ignore[union-attr]
        scores = np.where(real, scores, -np.inf).astype(np.float32)
        order = np.lexsort((keys, -scores), axis=1)[:, :k]
        best = np.take_along_axis(scores, order, axis=1)
        return TopK(np.where(np.isfinite(best), np.take_along_axis(keys, order, axis=1), -1), best)

    def save(self, folder: Path) -> Path:
        """Writes the graph as ``items.usearch`` (usearch's own format, no pickle)."""
        self.index.save(str(folder / FILE))
        return folder / FILE

    @classmethod
    def load(cls, folder: Path, items: Tensor, config: AnnConfig | None = None) -> Ann:
        """The index of a folder over the same (I, D) item vectors.

        Raises:
            ArtifactError: no index there, or one of other vectors.
        """
        config = config or AnnConfig()
        path = folder / FILE
        if not path.is_file():
            raise ArtifactError(f"no index at {path}; make one with: interlingua embed RUN --index usearch")
        index = _empty(int(items.shape[1]), config)
        index.load(str(path))
        if len(index) != len(items) or index.ndim != items.shape[1]:
            raise ArtifactError(
                f"{path} indexes {len(index)} vectors of width {index.ndim}, but {len(items)} of width "
                f"{items.shape[1]} were given"
            )
        index.expansion_search = config.expansion_search
        return cls(index, items.detach().float().cpu(), config)


def _empty(width: int, config: AnnConfig) -> Any:
    try:
        from usearch.index import Index
    except ImportError:
        raise MissingExtraError("usearch", "ann", "an approximate index") from None
    return Index(
        ndim=width, metric="ip", dtype="f32", connectivity=config.connectivity,
        expansion_add=config.expansion_add, expansion_search=config.expansion_search,
    )  # fmt: skip
