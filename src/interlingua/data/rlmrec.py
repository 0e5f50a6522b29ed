"""Splits as RLMRec and XRec publish them: parquet with a column ``split`` (trn, val, tst), no times."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from interlingua.data.parquet_folder import EVENTS, read_folder
from interlingua.data.raw import Log, Raw


class Rlmrec:
    """Reads a parquet folder with a given split (use it with ``split = "given"``)."""

    kind: ClassVar[str] = "data"

    @staticmethod
    def matches(path: Path) -> bool:
        """A folder with ``interactions.parquet`` that has a column ``split``."""
        return (path / EVENTS).is_file() and "split" in pl.read_parquet_schema(path / EVENTS)

    def read(self, path: Path, *, columns: dict[str, str], options: dict[str, Any], seed: int, log: Log) -> Raw:
        """See :func:`interlingua.data.source.read`."""
        raw = read_folder(path, columns, log)
        if raw.users is not None and raw.items is not None and "profile" in raw.users.columns:
            log.warn(
                f"{path.name}: the profiles of users and items were written by a language model that may have seen "
                "reviews of held-out events; gains from them are optimistic"
            )
        return raw
