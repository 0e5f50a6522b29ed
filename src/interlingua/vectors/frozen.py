"""Frozen text vectors in memory, for all encoders that do not learn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from interlingua.contracts.batch import Embeddings, FloatArray, Side
from interlingua.contracts.component import Component
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.text import Text
from interlingua.errors import DataError
from interlingua.vectors.fields import TextConfig
from interlingua.vectors.rows import finish_rows


class FrozenRows(Component):
    """One fixed vector per item, and per user where there are user texts. Has no parameter and no saved state."""

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """Frozen vectors of items, and of users where the options ask for them."""
        return frozenset({"text.items", "text.table"} | ({"text.users"} if config.users != "none" else set()))

    items: Tensor
    users: Tensor | None
    config: Any = None
    """options of the encoder; None: a table that no recipe names"""

    def export(self, job: Fitting) -> dict[str, Tensor]:
        """See :func:`tables_of`."""
        assert self.config is not None, "a table in memory is nobody's encoder"
        return tables_of(self, self.config, job)

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

    @property
    def has_users(self) -> bool:
        """Whether users have vectors too."""
        return self.users is not None

    @property
    def frozen(self) -> Tensor | None:
        """(I, T): none of them learns."""
        return self.items

    def rows(self, side: Side, ids: Tensor | None = None) -> Tensor:
        """(n, T) vectors of the given rows, or of all.

        Raises:
            DataError: users were asked for where there are no user texts.
        """
        table = self.items if side == "items" else self.users
        if table is None:
            raise DataError("this text source has no user texts: give the catalogue a users table with texts")
        return table if ids is None else table[ids.to(table.device)]


@torch.no_grad()
def tables_of(text: Text, config: TextConfig, job: Fitting) -> dict[str, Tensor]:
    """``text.items`` (I, T), and ``text.users`` (U, T) where the options ask for them, reduced and controlled.

    Args:
        text: fitted.
        config: its options; see :func:`interlingua.vectors.rows.finish_rows`.
        job: whose training events users are made of, and the seed of the control.
    """
    users = text.rows("users").detach().float().cpu() if config.users == "texts" else None
    made = finish_rows(Embeddings(users, text.rows("items").detach().float().cpu()), job.train, config, job.seed)
    return {f"text.{name}": table for name, table in made.named().items()}


def _matrix(values: Tensor | FloatArray, side: str) -> Tensor:
    table = torch.as_tensor(values, dtype=torch.float32)
    if table.ndim != 2:
        raise DataError(f"{side} vectors must be a table of rows and dimensions, got shape {tuple(table.shape)}")
    if not bool(torch.isfinite(table).all()):
        bad = int((~torch.isfinite(table).all(dim=1)).sum())
        raise DataError(f"{bad} of {table.shape[0]} {side} vectors hold NaN or infinity")
    return table
