"""Tables in memory as a source on disk, so that a run made from them can be continued, opened and repeated.

The folder's name is a hash of its content: equal tables are one source, changed tables are another.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from interlingua.data.files.frames import NAMES, is_frame, tables_of
from interlingua.data.prepared import Dataset, is_prepared, save
from interlingua.errors import ConfigError, DataError, shown
from interlingua.storage import durable
from interlingua.storage.artifact import content_key, disk, file_hash
from interlingua.storage.staging import staging


def as_source(data: Any, folder: Path) -> str:
    """A value for a recipe's ``[data].name``: a name or path unchanged, data in memory after storing it in ``folder``.

    Args:
        data: a dataset's name, a path, a frame of events (pandas, Polars, Arrow), a mapping with the frames
            ``interactions``, ``items`` and ``users`` or with columns as arrays, or a prepared dataset.
        folder: where tables are stored.

    Raises:
        ConfigError: none of these.
        DataError: tables that cannot be stored.
    """
    if isinstance(data, str | Path):
        return str(data)
    if isinstance(data, Dataset):
        target = folder / f"{_word(str(data.card['name']))}-{data.fingerprint[:12]}"
        return str(target if is_prepared(target) else save(data, target))
    if is_frame(data) or isinstance(data, Mapping):
        return str(_store(tables_of(data), folder))
    raise ConfigError(
        f"data is {shown(data)}, a {type(data).__name__}; give a dataset's name, a path, a frame (pandas, Polars, "
        f"Arrow) of events, a mapping with the frames {', '.join(NAMES)}, or what interlingua.prepare returned"
    )


def _word(name: str) -> str:
    """A dataset's name as part of a folder's."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name) or "data"


def _store(tables: Mapping[str, pl.DataFrame], folder: Path) -> Path:
    """Writes parquet files to a folder named by their hashes, all or none."""
    with disk(folder), staging(folder, "tables") as temporary:
        for name, table in tables.items():
            _write(table, temporary / f"{name}.parquet", name)
        key = content_key({path.name: file_hash(path) for path in temporary.iterdir()})
        final = folder / f"frame-{key[:12]}"
        if not final.exists():
            durable.replace(temporary, final)
    return final


def _write(table: pl.DataFrame, path: Path, name: str) -> None:
    try:
        table.write_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"the frame {name} with the columns {', '.join(table.columns)} cannot be stored: {str(error)[:200]}"
        ) from None
