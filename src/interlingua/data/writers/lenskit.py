"""LensKit: parquet files that ``lenskit.data.from_interactions_df`` takes: ``user_id, item_id, timestamp, rating``.

``timestamp`` is a date where the data have times, else the place in the history.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from interlingua.data.prepared import Dataset
from interlingua.data.writers.parts import part_tables


def write(data: Dataset, folder: Path) -> None:
    """Writes the parts and the items' table."""
    dated = data.card["time"]["kind"] == "seconds"
    for name, events in part_tables(data):
        table = events.with_columns(pl.from_epoch("timestamp", time_unit="s")) if dated else events
        table.write_parquet(folder / f"{name}.parquet")
    data.catalogue.items.write_parquet(folder / "items.parquet")
