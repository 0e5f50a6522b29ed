"""Frozen text vectors in memory, for all encoders that do not learn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors.torch import load_file
from torch import Tensor

from interlingua.contracts.batch import Embeddings, FloatArray, Side
from interlingua.contracts.component import Component
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.text import Text
from interlingua.errors import ConfigError, DataError
from interlingua.vectors.fields import TextConfig
from interlingua.vectors.rows import finish_rows
from interlingua.vectors.tables import save_tensors

WEIGHTS = "weights.safetensors"
ENCODER = "encoder"
"""folder of an embed stage: what further texts are read with, beside weights"""
BASIS = f"{ENCODER}/reduced.safetensors"
"""the directions that ``reduce`` has left"""


class FrozenRows(Component):
    """One fixed vector per item, and per user where there are user texts. Has no parameter and no saved state."""

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """Frozen vectors of items, of users where the options ask for them, and further texts' where words are read."""
        made = {"text.items", "text.table"} | ({"text.users"} if config.users != "none" else set())
        reads = cls.reads_words and config.profiles is None and config.control != "noise"
        return frozenset(made | ({"text.encoder"} if reads else set()))

    reads_words: ClassVar[bool] = True
    """False: the vectors come from elsewhere, and no further text can be read"""

    items: Tensor
    users: Tensor | None
    config: Any = None
    """options of the encoder; None: a table that no recipe names"""
    basis: Tensor | None = None
    """(T, reduce) directions that the last :meth:`export` left"""

    def export(self, job: Fitting) -> dict[str, Tensor]:
        """See :func:`tables_of`."""
        assert self.config is not None, "a table in memory is nobody's encoder"
        tables, self.basis = tables_of(self, self.config, job)
        return tables

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """Writes what further texts are reduced with, if any are."""
        return write_basis(self.basis, folder)

    @classmethod
    def of_stage(cls, config: Any, folder: Path) -> Self:
        """The encoder of a finished embed stage, without a row, for texts that came later: made of no text.

        An encoder that learns from the texts themselves, otherwise than by weights, overrides this.
        """
        made = cls(config, [])  # type: ignore[arg-type]  # the constructor of every encoder
        if (folder / WEIGHTS).is_file():
            made.load_state_dict(load_file(folder / WEIGHTS), strict=False)
        return made.eval()

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(n, T) vectors of other texts (new items).

        Raises:
            ConfigError: this source has vectors of known items only.
        """
        raise ConfigError(f"{type(self).__name__} has vectors of known items only, and cannot read {len(texts)} texts")

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
def tables_of(text: Text, config: TextConfig, job: Fitting) -> tuple[dict[str, Tensor], Tensor | None]:
    """``text.items`` (I, T), and ``text.users`` (U, T) where the options ask for them, reduced and controlled.

    Beside them the (T, reduce) directions of the reduction, if there was one.

    Args:
        text: fitted.
        config: its options; see :func:`interlingua.vectors.rows.finish_rows`.
        job: whose training events users are made of, and the seed of the control.
    """
    users = text.rows("users").detach().float().cpu() if config.users == "texts" else None
    own = Embeddings(users, text.rows("items").detach().float().cpu())
    made, basis = finish_rows(own, job.train, config, job.seed)
    return {f"text.{name}": table for name, table in made.named().items()}, basis


def write_basis(basis: Tensor | None, folder: Path) -> dict[str, Any]:
    """Writes the directions of a reduction into an embed stage's folder; no entry for the card."""
    if basis is not None:
        (folder / ENCODER).mkdir(exist_ok=True)
        save_tensors({"basis": basis}, folder / BASIS)
    return {}


def _matrix(values: Tensor | FloatArray, side: str) -> Tensor:
    table = torch.as_tensor(values, dtype=torch.float32)
    if table.ndim != 2:
        raise DataError(f"{side} vectors must be a table of rows and dimensions, got shape {tuple(table.shape)}")
    if not bool(torch.isfinite(table).all()):
        bad = int((~torch.isfinite(table).all(dim=1)).sum())
        raise DataError(f"{bad} of {table.shape[0]} {side} vectors hold NaN or infinity")
    return table
