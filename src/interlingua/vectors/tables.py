"""Tables of vectors on disk: safetensors beside the external ids of their rows: never positional alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from safetensors.torch import load_file, save_file
from torch import Tensor

from interlingua.contracts.batch import Embeddings
from interlingua.data.interactions import Interactions
from interlingua.errors import ConfigError

CODES = "item_codes"


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes named tensors (CPU copies: shared storage is legal) as safetensors."""
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, path)


def save_tables(folder: Path, tables: Embeddings, rows: Interactions) -> None:
    """Writes ``vectors.safetensors`` and ``ids.parquet`` (side, row, id)."""
    named = _named(tables)
    save_tensors({k: v if k == CODES else v.float() for k, v in named.items()}, folder / "vectors.safetensors")
    sides = {"items": rows.item_ids} | ({"users": rows.user_ids} if tables.users is not None else {})
    frames = [
        pl.DataFrame({"side": [side] * len(ids), "row": np.arange(len(ids)), "id": [str(i) for i in ids]})
        for side, ids in sides.items()
    ]
    pl.concat(frames).write_parquet(folder / "ids.parquet")


def shapes(tables: Embeddings) -> dict[str, list[int]]:
    """Name -> shape of the tables that there are, for cards."""
    return {name: list(table.shape) for name, table in _named(tables).items()}


def _named(tables: Embeddings) -> dict[str, Tensor]:
    """The tables that there are.

    Raises:
        ConfigError: codes that are no integers.
    """
    codes = tables.item_codes
    if codes is not None and (codes.is_floating_point() or codes.dim() != 2):
        raise ConfigError(
            f"item_codes must be a table of integers, one row per item; got {codes.dtype} of shape {tuple(codes.shape)}"
        )
    named = {"users": tables.users, "items": tables.items, "items_from_text": tables.items_from_text, CODES: codes}
    return {name: table for name, table in named.items() if table is not None}


def load_tables(folder: Path) -> Embeddings:
    """The vectors of a stage's folder."""
    tensors = load_file(folder / "vectors.safetensors")
    from_text = tensors.get("items_from_text", tensors.get("text_items"))  # the second: of older versions
    return Embeddings(tensors.get("users"), tensors["items"], from_text, tensors.get(CODES))
