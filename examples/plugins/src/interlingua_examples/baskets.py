"""A file with one basket a line: ``user: item item item``, in the order in which they were bought."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from interlingua.data.raw import Log, Source, SourceTables
from interlingua.errors import DataError


class Baskets(Source):
    """Events of baskets; their times are positions."""

    @staticmethod
    def matches(path: Path) -> bool:
        """A file whose name ends in ``.baskets``."""
        return path.is_file() and path.suffix == ".baskets"

    def read(
        self, path: Path, *, columns: dict[str, str], options: dict[str, Any], seed: int, log: Log
    ) -> SourceTables:
        """See :func:`interlingua.data.source.read`."""
        if not path.is_file():
            raise DataError(f"no file of baskets at {path}")
        rows: list[tuple[str, str, int]] = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            user, colon, items = line.partition(":")
            if not colon:
                raise DataError(f"{path}, line {number + 1}: a basket reads 'user: item item', got {line[:60]!r}")
            rows += [(user.strip(), item, number) for item in items.split()]
        if not rows:
            raise DataError(f"{path} holds no basket; a line reads 'user: item item'")
        events = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
        return SourceTables(events, None, None, name=path.stem, time_unit="order", where=str(path))
