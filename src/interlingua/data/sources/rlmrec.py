"""Splits published by RLMRec and XRec: RLMRec's own pickles, or parquet with a column ``split``; no times.

The pickles are read directly, so that a downloaded folder is already a dataset; their vectors are not part of a
dataset, and ``interlingua data convert`` writes them for the text source ``npy``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from interlingua.data.files.guard import refuse_unused
from interlingua.data.files.rlmrec_pickles import is_published, published
from interlingua.data.raw import Log, Source, SourceTables
from interlingua.data.sources.parquet_folder import EVENTS, event_columns, read_folder


class Rlmrec(Source):
    """Reads a folder with a given split, parquet or RLMRec's pickles (use it with ``split = "given"``)."""

    @staticmethod
    def matches(path: Path) -> bool:
        """A folder with ``trn_mat.pkl``, or with ``interactions.parquet`` that has a column ``split``."""
        return is_published(path) or ((path / EVENTS).is_file() and "split" in event_columns(path))

    def read(
        self, path: Path, *, columns: dict[str, str], options: dict[str, Any], seed: int, log: Log
    ) -> SourceTables:
        """See :func:`interlingua.data.source.read`."""
        refuse_unused("rlmrec", "options", options, "columns.* of parquet files, and nothing of pickles")
        if is_published(path):
            refuse_unused("rlmrec", "columns of pickles", columns, "them from parquet files (interlingua data convert)")
            raw = _of_pickles(path)
        else:
            raw = read_folder(path, columns, log)
        if raw.users is not None and raw.items is not None and "profile" in raw.users.columns:
            log.warn(
                f"{path.name}: the profiles of users and items were written by a language model that may have seen "
                "reviews of held-out events; gains from them are optimistic"
            )
        return raw


def _of_pickles(path: Path) -> SourceTables:
    """The published files as tables; the part is the matrix that has the pair."""
    found = published(path)
    events = found.events.rename({"split": "part"})
    used = {"user_id": "row", "item_id": "column", "part": "matrix"}
    return SourceTables(
        events, found.items, found.users, name=path.name, time_unit="order", where=str(path), columns=used
    )
