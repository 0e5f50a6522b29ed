"""Frozen text vectors in memory: what every encoder that does not learn offers as its rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from interlingua.contracts.batch import FloatArray, Side
from interlingua.contracts.component import Component
from interlingua.errors import DataError


class FrozenRows(Component):
    """One fixed vector per item, and per user where there are user texts. Has no parameter and no saved state."""

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """Frozen vectors of items, and of users where the options ask for them."""
        return frozenset({"text.items", "text.table"} | ({"text.users"} if config.users != "none" else set()))

    items: Tensor
    users: Tensor | None

    def __init__(self, items: Tensor | FloatArray, users: Tensor | FloatArray | None = None) -> None:
        super().__init__()
        self.register_buffer("items", _matrix(items, "item"), persistent=False)
        self.register_buffer("users", None if users is None else _matrix(users, "user"), persistent=False)
        if self.users is not None and self.users.shape[1] != self.items.shape[1]:
            raise DataError(
                f"item vectors have {self.items.shape[1]} dimensions, user vectors {self.users.shape[1]}: "
                "both sides of a text source need one width"
            )

    @property
    def dim(self) -> int:
        """T"""
        return int(self.items.shape[1])

    def rows(self, side: Side, ids: Tensor | None = None) -> Tensor:
        """(n, T) vectors of the given rows, or of all.

        Raises:
            DataError: users were asked for where there are no user texts.
        """
        table = self.items if side == "items" else self.users
        if table is None:
            raise DataError("this text source has no user texts: give the catalogue a users table with texts")
        return table if ids is None else table[ids.to(table.device)]


def _matrix(values: Tensor | FloatArray, side: str) -> Tensor:
    table = torch.as_tensor(values, dtype=torch.float32)
    if table.ndim != 2:
        raise DataError(f"{side} vectors must be a table of rows and dimensions, got shape {tuple(table.shape)}")
    if not bool(torch.isfinite(table).all()):
        bad = int((~torch.isfinite(table).all(dim=1)).sum())
        raise DataError(f"{bad} of {table.shape[0]} {side} vectors hold NaN or infinity")
    return table
