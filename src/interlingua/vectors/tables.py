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


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes named tensors (CPU copies: shared storage is legal) as safetensors."""
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, path)


def save_tables(folder: Path, tables: Mapping[str, Tensor], known: Interactions) -> None:
    """Writes ``vectors.safetensors`` and ``ids.parquet`` (side, row, id); whole numbers stay whole."""
    written = {name: v.float() if v.is_floating_point() else v for name, v in tables.items()}
    save_tensors(written, folder / "vectors.safetensors")
    sides = {"items": known.item_ids} | ({"users": known.user_ids} if "users" in tables else {})
    frames = [
        pl.DataFrame({"side": [side] * len(ids), "row": np.arange(len(ids)), "id": [str(i) for i in ids]})
        for side, ids in sides.items()
    ]
    pl.concat(frames).write_parquet(folder / "ids.parquet")


def shapes(tables: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """Name -> shape, for cards."""
    return {name: list(table.shape) for name, table in tables.items()}


def load_tables(folder: Path) -> Embeddings:
    """The vectors of a stage's folder."""
    tensors = load_file(folder / "vectors.safetensors")
    if "text_items" in tensors:  # of older versions
        tensors["items_from_text"] = tensors.pop("text_items")
    return Embeddings.of(tensors)
