"""Operations on frozen text vectors after encoding: users from their items, fewer dimensions, controls.

Shape key: U users, I items, T width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from interlingua.contracts.batch import Embeddings
from interlingua.data.interactions import Interactions
from interlingua.errors import ConfigError
from interlingua.nn.decompose import eigh
from interlingua.vectors.fields import TextConfig


def finish_rows(
    tables: Embeddings, train: Interactions, config: TextConfig, seed: int
) -> tuple[Embeddings, Tensor | None]:
    """User vectors, reduction and control as ``config`` says, in this order; and the directions of the reduction.

    Args:
        tables: encoded items (I, T), and users (U, T) where their own texts were encoded.
        train: training events, the only ones that are read.
        config: ``users``, ``reduce`` and ``control``.
        seed: of the control.
    """
    users, items, basis = tables.users, tables.items, None
    if config.users == "items":
        users = mean_of_items(items, train)
    if config.reduce is not None:
        basis = directions(users, items, config.reduce)
        users, items = None if users is None else users @ basis, items @ basis
    if config.control != "none":
        generator = np.random.default_rng(seed)
        items = controlled(items, config.control, generator)
        users = None if users is None else controlled(users, config.control, generator)
    return Embeddings(users, items), basis


def mean_of_items(items: Tensor, train: Interactions) -> Tensor:
    """(U, T) each user's mean over its training events; a user without any gets the mean over all items."""
    ones = torch.ones(len(train), dtype=items.dtype)
    out = torch.nn.functional.embedding_bag(
        torch.as_tensor(train.items, dtype=torch.int64),
        items,
        torch.as_tensor(train.offsets[:-1], dtype=torch.int64),
        mode="sum",
        per_sample_weights=ones,
    )
    counts = torch.as_tensor(train.user_counts)[:, None]
    return torch.where(counts > 0, out / counts.clamp_min(1), items.mean(0))


def directions(users: Tensor | None, items: Tensor, dim: int) -> Tensor:
    """(T, dim) directions that carry most of the squared length of both tables together (truncated SVD).

    Nothing is centred: dot products and cosines are kept as well as ``dim`` dimensions can.

    Raises:
        ConfigError: ``dim`` is larger than T.
    """
    if dim > items.shape[1]:
        raise ConfigError(f"text.reduce = {dim}, but the text vectors have only {items.shape[1]} dimensions")
    vectors = (items if users is None else torch.cat([users, items])).double()
    _, basis = eigh(vectors.T @ vectors, "text.reduce: directions of the texts")  # ascending
    return basis[:, -dim:].flip(1).float()


def controlled(vectors: Tensor, control: str, generator: np.random.Generator) -> Tensor:
    """The rows in random order, or noise with each dimension's mean and spread."""
    if control == "shuffled":
        return vectors[torch.from_numpy(generator.permutation(len(vectors)))]
    drawn = torch.from_numpy(generator.standard_normal(tuple(vectors.shape)).astype(np.float32))
    return vectors.mean(0) + drawn * vectors.std(0)
