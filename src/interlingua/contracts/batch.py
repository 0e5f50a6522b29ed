"""What goes through a training step: tables of vectors, batches of row numbers, and what a backbone makes of them."""

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
    """One row per user and item, in the order of the interactions that they were made from."""

    users: Tensor | None
    """(U, D), or None where the backbone keeps no user table (sequence models)."""
    items: Tensor
    """(I, D)"""
    items_from_text: Tensor | None = None
    """(I, D) the same space reached from the item's text alone: what an item unseen in training uses."""
    item_codes: Tensor | None = None
    """(I, K) integers: each item as K codes, for rankers that print them (semantic ids)"""

    @classmethod
    def of(cls, named: Mapping[str, Tensor]) -> Embeddings:
        """Of tensors by name; names that are no field are left out."""
        return cls(named.get("users"), named["items"], named.get("items_from_text"), named.get("item_codes"))

    def named(self) -> dict[str, Tensor]:
        """The tables that there are, by name."""
        return {name: table for name, table in self.__dict__.items() if table is not None}


@dataclass(frozen=True)
class Batch:
    """Row numbers of one training step."""

    users: Tensor
    """(B,) user indices"""
    positives: Tensor
    """(B,) or, with one target per position, (B, L); PAD where there is no target"""
    negatives: Tensor | None = None
    """(B,), (B, L) or (B, L, N)"""
    histories: Tensor | None = None
    """(B, L) item indices before the targets, oldest first, left-padded with PAD"""
    labels: Tensor | None = None
    """(B,) float, 1 where the user liked the positive and 0 where not, of labelled events; None: all were chosen"""
    times: Tensor | None = None
    """shaped as ``positives``: when each event was, in the interactions' unit; 0 where there is no target"""
    history_times: Tensor | None = None
    """(B, L) the same of ``histories``"""

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        moved = {k: v.to(device) for k, v in self.__dict__.items() if v is not None}
        return Batch(**moved)

    def __len__(self) -> int:
        return int(self.users.shape[0])


@dataclass(frozen=True)
class Encoded:
    """What a backbone says of one batch."""

    tables: Embeddings
    query: Tensor
    """(B, D) the batch's users"""
    private: Any = None
    """SSL views, per-position states: only the same backbone's losses may read it"""
