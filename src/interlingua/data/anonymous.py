"""A dataset without anybody's events: the same items and texts, and who had what is gone."""

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
"""entry of a dataset's card: who had what, and who they are, was left out when a model was saved"""
NOBODY = "nobody"
"""external id of the one user of such a dataset, who has the training events of all"""
KEPT = ("name", "domain", "licence", "url", "label", "item_names")
"""entries of a card that say nothing of anybody"""


def has_users(dataset: Dataset) -> bool:
    """Whether its events are those of users, rather than what :func:`to_give_away` left."""
    return LEFT_OUT not in dataset.card


def to_give_away(dataset: Dataset) -> Dataset:
    """What a model needs that is given away: items, their texts, and how often each was had in training.

    The card keeps how many users and events there were. No id of a user, no event and no time is left.
    """
    if not has_users(dataset):
        return dataset
    found = without_events(dataset, [NOBODY], dataset.split.train.item_counts)
    card = {name: found.card[name] for name in KEPT if name in found.card}
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
