"""A dataset without anybody's events: the same items and texts, and who had what is gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from interlingua.data.catalogue import Catalogue
from interlingua.data.interactions import Interactions
from interlingua.data.prepared import Dataset, fingerprint, id_array
from interlingua.data.splitting import of_parts


def without_events(dataset: Dataset, user_ids: Sequence[str], counts: npt.NDArray[Any] | None = None) -> Dataset:
    """The same catalogue with other users, none of whom has a history.

    Args:
        dataset: whose items, texts of items and words stay. Texts of users go.
        user_ids: (U,) external ids.
        counts: (I,) training events of each item, which a model may read (how popular it is): all are given to the
            first user. None: no events at all.
    """
    times = np.zeros(0 if counts is None else int(counts.sum()), np.int64)
    items = np.zeros(0, np.int32) if counts is None else np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    users = np.zeros(len(items), np.int32)
    ids = id_array(pl.Series(list(user_ids), dtype=pl.String))
    events = Interactions(ids, dataset.interactions.item_ids, users, items, times)
    catalogue = Catalogue(dataset.catalogue.items, None, dataset.catalogue.domain)
    parts = np.zeros(len(items), np.int8)
    said = dataset.split
    split = of_parts(
        events, parts, protocol=said.protocol, valid_known=said.valid_in_test_history, kind="order", notes=said.notes
    )
    card: dict[str, Any] = dataset.card | {
        "time": dataset.card["time"] | {"kind": "order", "first": 0, "last": 0},
        "counts": {"users": len(ids), "items": len(dataset.catalogue), "events": len(items)},
        "steps": [],
        "fingerprint": fingerprint(events, catalogue, parts, said.protocol),
    }
    return Dataset(events, catalogue, split, card, parts)
