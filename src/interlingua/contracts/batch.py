"""The inputs and outputs of a training step: tables of vectors, batches of indices, and the backbone's output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

FloatArray = npt.NDArray[np.float32]
Side = Literal["users", "items"]


@dataclass(frozen=True)
class Embeddings:
    """Vectors of users and items, in the order of the interactions."""

    users: Tensor | None
    """(U, D), or None where the backbone keeps no user table (sequence models)."""
    items: Tensor
    """(I, D)"""
    items_from_text: Tensor | None = None
    """(I, D) vectors in the same space made from texts alone: used for items unseen in training"""
    item_codes: Tensor | None = None
    """(I, K) integers: each item as K codes, for rankers that print them (semantic ids)"""

    @classmethod
    def of(cls, named: Mapping[str, Tensor]) -> Embeddings:
        """Makes it from named tensors; unknown names are ignored."""
        return cls(named.get("users"), named["items"], named.get("items_from_text"), named.get("item_codes"))

    def named(self) -> dict[str, Tensor]:
        """The existing tables, by name."""
        return {name: table for name, table in self.__dict__.items() if table is not None}


@dataclass(frozen=True)
class Batch:
    """Indices of one training step."""

    users: Tensor
    """(B,) user indices"""
    positives: Tensor
    """(B,) or, with one target per position, (B, L); PAD where there is no target"""
    negatives: Tensor | None = None
    """(B,), (B, L) or (B, L, N)"""
    histories: Tensor | None = None
    """(B, L) item indices before the targets, oldest first, left-padded with PAD"""
    labels: Tensor | None = None
    """(B,) float, for labelled events: 1 if the user liked the positive, else 0; None: all are positive"""
    times: Tensor | None = None
    """same shape as ``positives``: time of each event, in the interactions' unit; 0 where there is no target"""
    history_times: Tensor | None = None
    """(B, L) times of the events in ``histories``"""
    fresh: Tensor | None = None
    """(B, L) bool, of sessions side by side: where one begins, and the row's state of the batch before is forgotten"""
    events: Tensor | None = None
    """(B,) numbers of the training events that are the targets, where a loss looks something up by them"""
    history_labels: Tensor | None = None
    """(B, L) 1 where the user liked the event in ``histories``, else 0; None: all of them were liked"""
    wordings: Tensor | None = None
    """(B,) number of the wording in which each row is asked, where the rows of a batch ask different things"""
    step: Tensor | None = None
    """() optimiser steps before this one, for losses whose weights change as training goes on"""

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        moved = {k: v.to(device) for k, v in self.__dict__.items() if v is not None}
        return Batch(**moved)

    def __len__(self) -> int:
        return int(self.users.shape[0])


@dataclass(frozen=True)
class Encoded:
    """A backbone's output for one batch."""

    tables: Embeddings
    query: Tensor
    """(B, D) the batch's users"""
    private: Any = None
    """SSL views, per-position states: only the same backbone's losses may read it"""
