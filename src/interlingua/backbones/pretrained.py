"""Bring your own vectors: users and items from another system, joined by external id, without retraining.

A file is ``.npy`` (a matrix) or ``.safetensors`` (tensor ``users`` or ``items``), with their ids in a file of any form
that :func:`interlingua.vectors.id_files.read_ids` reads, or ``.parquet`` (an id column and either one list column or
many numeric ones).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

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
from interlingua.errors import ConfigError, DataError
from interlingua.nn.histories import recency_weights
from interlingua.progress import say
from interlingua.runtime.missing import Missing
from interlingua.vectors.places import contents_of, place_of
from interlingua.vectors.vector_files import read_vectors


class PretrainedConfig(Config):
    """Options of :class:`Pretrained`."""

    files = ("items", "item_ids", "users", "user_ids")

    items: str = ""
    """file with item vectors (required), or a table: ``qdrant:PATH_OR_URL#NAME``, ``postgresql://HOST/DATABASE#NAME``,
    ``lancedb:PATH#NAME``"""
    item_ids: str | None = None
    """file with their external ids: text (one a line), a JSON list, a JSON object id -> row, ``.npy``, or ``.parquet``
    (also ``ids.parquet`` of ``interlingua embed``); not needed if ``items`` is parquet or in the dataset's order"""
    users: str | None = None
    """file or table with user vectors; None: a user is the mean of the history's item vectors"""
    user_ids: str | None = None
    """as ``item_ids``"""
    similarity: str = "dot"
    """``dot`` or ``cosine`` (both sides scaled to unit length)"""
    half_life: float | None = Field(default=None, gt=0)
    """users without a vector: events after which a history item's weight halves (None: plain mean)"""

    def lacks(self) -> list[Missing]:
        """Files that are not here; tables are asked when they are read."""
        tables = [name for name in ("items", "users") if (value := getattr(self, name)) and place_of(value)]
        return [each for each in super().lacks() if not any(f"({name})" in each.what for name in tables)]


class Pretrained(Backbone):
    """Dot products of vectors that were trained elsewhere; they never change."""

    Config = PretrainedConfig
    sampling = "none"

    @classmethod
    def makes(cls, config: PretrainedConfig) -> frozenset[str]:
        """Makes a user table if a file of users was given."""
        return super().makes(config) | ({"user_table"} if config.users else set())

    @classmethod
    def fingerprint(cls, config: PretrainedConfig) -> dict[str, str]:
        """Files by their hash, and tables of databases by what they hold now."""
        places = {name: place_of(path) for name in ("items", "users") if (path := vars(config)[name])}
        found = {name: contents_of(place) for name, place in places.items() if place is not None}
        return super().fingerprint(config) | {name: digest for name, digest in found.items() if digest is not None}

    users: Tensor
    items: Tensor
    known_users: Tensor
    known_items: Tensor

    def __init__(self, config: PretrainedConfig, train: Interactions) -> None:
        super().__init__(config, train)
        if config.similarity not in ("dot", "cosine"):
            raise ConfigError(f"unknown backbone.similarity {config.similarity!r}: use dot or cosine")
        self.register_buffer("users", torch.zeros(0, 0))
        self.register_buffer("items", torch.zeros(train.num_items, 0))
        self.register_buffer("known_users", torch.zeros(train.num_users, dtype=torch.bool))
        self.register_buffer("known_items", torch.zeros(train.num_items, dtype=torch.bool))

    def fit(self, job: Fitting) -> FitLog:
        """Reads the files and reports how much of the dataset they cover.

        Raises:
            ConfigError: no item file was given.
            DataError: a file cannot be read, has no row of this dataset, or widths differ.
        """
        train = job.train
        config = self.config
        if not config.items:
            raise ConfigError("pretrained needs a file of item vectors: --set backbone.items=PATH")
        items, known = read_vectors(config.items, config.item_ids, "items", train.item_ids)
        place = self.items.device
        self.items, self.known_items = self._side(items).to(place), torch.from_numpy(known).to(place)
        say(f"item vectors: {int(known.sum()):,} of {len(known):,} items, width {items.shape[1]}")
        if config.users is None:
            return FitLog.untrained()
        users, known = read_vectors(config.users, config.user_ids, "users", train.user_ids)
        if users.shape[1] != items.shape[1]:
            raise DataError(
                f"user vectors in {config.users} are {users.shape[1]} wide, item vectors in {config.items} "
                f"{items.shape[1]}: both must come from one model"
            )
        self.users, self.known_users = self._side(users).to(place), torch.from_numpy(known).to(place)
        if _made_from_all_events(Path(config.users)):
            say(
                f"warning: {config.users} was written from all events on record, the held-out ones included: measured "
                "on the same data it knows the answers; write it with `interlingua embed RUN --events train`"
            )
        say(f"user vectors: {int(known.sum()):,} of {len(known):,} users; the others are means of their histories")
        return FitLog.untrained()

    def _side(self, vectors: np.ndarray) -> Tensor:
        table = torch.from_numpy(vectors)
        return functional.normalize(table, dim=1) if self.config.similarity == "cosine" else table

    def user_rows(self) -> frozenset[str]:
        """The tensors with the given users' vectors, and which users have one."""
        return frozenset({"users", "known_users"})

    def input_embeddings(self) -> Embeddings:
        """The given vectors; no user table if only items were given."""
        return Embeddings(self.users if len(self.users) else None, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """The batch's users."""
        if batch.histories is None:
            histories: list[np.ndarray] = [np.zeros(0, np.int64)] * len(batch)
        else:
            padded = batch.histories.cpu().numpy()
            histories = [row[row >= 0] for row in padded]
        return Encoded(inputs, self.user_embeddings(Queries.of(histories, batch.users.cpu().numpy())))

    def extended(self, added: AddedItems) -> Pretrained | None:
        """New items are like items without a vector in the file, until an aligner gives them one."""
        if added.items is None:
            return None
        none = self.items.new_zeros(added.count, self.items.shape[1])
        known = self.known_items.new_zeros(added.count)
        return self.longer(added, items=torch.cat([self.items, none]), known_items=torch.cat([self.known_items, known]))

    def score_unseen(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """The same scores: the vectors were made elsewhere, and no event of this dataset changes them."""
        return self.score(queries, items)

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, D) the user's own vector if there is one, else the mean of the history's item vectors."""
        out = self._means(queries, self.items, self.known_items)
        if not len(self.users):
            return out
        who = torch.as_tensor(np.asarray(queries.users, np.int64), device=out.device)
        own = (who >= 0) & self.known_users[who.clamp(min=0)]
        out[own] = self.users[who[own]]
        return out

    def users_over(self, items: Tensor) -> Callable[[Queries], Tensor]:
        """Means of ``items`` (I, D) for histories without any given vector; other users are unchanged."""

        @torch.no_grad()
        def users(queries: Queries) -> Tensor:
            out = self.user_embeddings(queries)
            silent = torch.from_numpy(queries.lengths() > 0) & ~self._is_informed(queries)
            if len(self.users):
                who = torch.as_tensor(np.asarray(queries.users, np.int64))
                silent &= ~((who >= 0) & self.known_users.cpu()[who.clamp(min=0)])
            if bool(silent.any()):
                places = np.flatnonzero(silent.numpy())
                everything = torch.ones_like(self.known_items)
                out[torch.from_numpy(places)] = self._means(queries.take(places), items.to(out), everything)
            return out

        return users

    def _is_informed(self, queries: Queries) -> Tensor:
        """(B,) whether an item of the history has a vector."""
        owner = np.repeat(np.arange(len(queries)), queries.lengths())
        known = self.known_items.cpu().numpy()[queries.items]
        return torch.from_numpy(np.bincount(owner[known], minlength=len(queries)) > 0)

    def _means(self, queries: Queries, items: Tensor, known: Tensor) -> Tensor:
        """(B, D) means of each history's items (I, D), over the known ones (I,)."""
        place = items.device
        if not len(queries.items):
            return items.new_zeros(len(queries), items.shape[1])
        has_vector = known.cpu().numpy()[queries.items]
        owner = np.repeat(np.arange(len(queries)), queries.lengths())[has_vector]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(queries)))]).astype(np.int64)
        readable = Queries(queries.users, queries.items[has_vector], offsets)
        mean = functional.embedding_bag(
            torch.as_tensor(np.asarray(readable.items, np.int64), device=place),
            items,
            torch.as_tensor(offsets[:-1], device=place),
            mode="sum",
            per_sample_weights=torch.as_tensor(recency_weights(readable, self.config.half_life), device=place),
        )
        return functional.normalize(mean, dim=1) if self.config.similarity == "cosine" else mean

    def item_embeddings(self) -> Tensor:
        """(I, D) item vectors; zero where none was given."""
        return self.items

    def learned_items(self, train: Interactions) -> Tensor:
        """(I,) items with a vector in the file, whether or not they have events here."""
        return self.known_items.cpu()

    def learned_users(self, train: Interactions) -> Tensor:
        """(U,) users with a vector in the file."""
        return self.known_users.cpu()


def _made_from_all_events(vectors: Path) -> bool:
    """Whether ``interlingua embed`` says so in the card beside a file of user vectors."""
    try:
        card = json.loads((vectors.parent / "card.json").read_text(encoding="utf-8"))
        return bool(card["kind"] == "vectors" and card["config"]["events"] == "all")
    except (OSError, ValueError, KeyError, TypeError):
        return False
