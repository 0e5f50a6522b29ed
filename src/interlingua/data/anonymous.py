"""A dataset without users: the same items and texts, but nobody's events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from interlingua.data.interactions import Interactions
from interlingua.data.prepared import Dataset, fingerprint, id_array
from interlingua.data.splitting import of_parts

LEFT_OUT = "users_left_out"
"""entry of a dataset's card: users and their events were left out when a model was saved"""
NOBODY = "nobody"
"""external id of the only user of such a dataset, who has the training events of all"""
RETAINED = ("name", "domain", "licence", "url", "label", "item_names")
"""entries of a card that reveal nothing about users"""


def has_users(dataset: Dataset) -> bool:
    """Whether its events belong to users; False after :func:`to_give_away`."""
    return LEFT_OUT not in dataset.card


def to_give_away(dataset: Dataset) -> Dataset:
    """The data that a shared model needs: items, their texts, and the number of training events of each.

    The card keeps the numbers of users and events. No user's id, no event and no time remains.
    """
    if not has_users(dataset):
        return dataset
    found = without_events(dataset, [NOBODY], dataset.split.train.item_counts)
    card = {name: found.card[name] for name in RETAINED if name in found.card}
    card |= {name: found.card[name] for name in ("fingerprint", "filter") if name in found.card}
    card |= {
        "time": {"kind": "order", "first": 0, "last": 0},
        "split": dataset.card["split"] | {"notes": []},
        "counts": dataset.card.get("counts", {}),
        LEFT_OUT: True,
    }
    return replace(found, card=card, split=replace(found.split, notes=()))


def without_events(dataset: Dataset, user_ids: Sequence[str], counts: npt.NDArray[Any] | None = None) -> Dataset:
    """The same catalogue with other users, none of whom has a history.

    Args:
        dataset: its items, item texts and words stay; its user texts are dropped.
        user_ids: (U,) external ids.
        counts: (I,) training events of each item (a model may read its popularity): all are given to the
            first user. None: no events at all.
    """
    times = np.zeros(0 if counts is None else int(counts.sum()), np.int64)
    items = np.zeros(0, np.int32) if counts is None else np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    users = np.zeros(len(items), np.int32)
    ids = id_array(pl.Series(list(user_ids), dtype=pl.String))
    events = Interactions(ids, dataset.interactions.item_ids, users, items, times)
    catalogue = replace(dataset.catalogue, users=None)
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
