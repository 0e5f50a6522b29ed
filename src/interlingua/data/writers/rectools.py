"""RecTools: ``train.parquet`` and so on with ``user_id, item_id, weight, datetime``; ``item_features.parquet``.

    from rectools.dataset import Dataset
    Dataset.construct(pd.read_parquet("train.parquet"), item_features_df=pd.read_parquet("item_features.parquet"),
                      cat_item_features=[...])

``weight`` is the rating, or 1. ``datetime`` of data without times counts days from 1970 by the place in the history.
``item_features.parquet`` is long (``id, feature, value``), of items in the training part, as RecTools wants it.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from interlingua.data.catalogue import LISTS, values_in
from interlingua.data.prepared import Dataset
from interlingua.data.writers.parts import part_tables

TEXTS = ("item_id", "title", "description")
"""columns that are no feature of a few values"""
DAY = 86_400


def write(data: Dataset, folder: Path) -> None:
    """Writes the parts and the features."""
    seconds = 1 if data.card["time"]["kind"] == "seconds" else DAY
    trained: set[str] = set()
    for name, events in part_tables(data):
        weight = pl.col("rating").cast(pl.Float64) if "rating" in events.columns else pl.lit(1.0)
        moment = pl.from_epoch(pl.col("timestamp") * seconds, time_unit="s")
        table = events.select("user_id", "item_id", weight.alias("weight"), moment.alias("datetime"))
        table.write_parquet(folder / f"{name}.parquet")
        trained |= set(events["item_id"].to_list()) if name == "train" else set()
    features(data, trained).write_parquet(folder / "item_features.parquet")


def features(data: Dataset, items: set[str]) -> pl.DataFrame:
    """``id, feature, value``: a line for each value of each column of the catalogue but its texts."""
    lines = []
    for line in data.catalogue.items.iter_rows(named=True):
        if line["item_id"] in items:
            for name in line.keys() - set(TEXTS):
                values = values_in(name, line[name]) if name in LISTS else [line[name]]
                lines += [(line["item_id"], name, str(value)) for value in values if value is not None]
    return pl.DataFrame(sorted(lines), schema={"id": pl.String, "feature": pl.String, "value": pl.String}, orient="row")
