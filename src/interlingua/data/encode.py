"""Checked events as indices into sorted ids; samples and filtered sets with their own indices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from interlingua.data.files.times import FRACTION
from interlingua.data.interactions import Interactions
from interlingua.data.prepared import id_array
from interlingua.data.raw import Log
from interlingua.data.splitting import Parts
from interlingua.data.ties import TieRule, order_by_time, settle


def encode(events: pl.DataFrame, ties: TieRule, log: Log) -> tuple[Interactions, Parts | None]:
    """Events as indices into sorted ids, in the order (user, time, ``ties``)."""
    indices, ids = {}, {}
    for column in ("user_id", "item_id"):
        names = events[column].unique().sort()
        codes = events[column].cast(pl.Enum(names)).to_physical()
        indices[column], ids[column] = codes.cast(pl.Int32).to_numpy(), id_array(names)
    times = events["timestamp"].to_numpy()
    more = {
        column: events[column].to_numpy()
        for column in ("rating", "part", "label", FRACTION)
        if column in events.columns
    }
    order, decided = settle(
        order_by_time(indices["user_id"], times),
        indices["user_id"],
        indices["item_id"],
        times,
        more.get(FRACTION),
        (ids["user_id"], ids["item_id"]),
        tuple(more[column] for column in ("rating", "part") if column in more),
        ties,
    )
    if ties == "hash":
        log.decide(
            "events at the same time as another of their user, ordered by a hash of user and item",
            decided,
            'clean.ties = "file"',
        )
    ratings, given, labels = (more[c][order] if c in more else None for c in ("rating", "part", "label"))
    users, items = indices["user_id"][order], indices["item_id"][order]
    return Interactions(ids["user_id"], ids["item_id"], users, items, times[order], ratings, labels), given


def sampled(
    interactions: Interactions, given: Parts | None, max_users: int | None, seed: int, log: Log
) -> tuple[Interactions, Parts | None]:
    """The events of ``max_users`` random users (None: of all)."""
    if max_users is None or max_users >= interactions.num_users:
        return interactions, given
    chosen = np.zeros(interactions.num_users, bool)
    chosen[np.random.default_rng(seed).permutation(interactions.num_users)[:max_users]] = True
    keep = chosen[interactions.users]
    log.step(f"sample of {max_users:,} users (seed {seed})", len(interactions), int(keep.sum()))
    return compact(interactions, given, keep, None)


def compact(
    interactions: Interactions, given: Parts | None, mask: npt.NDArray[np.bool_], extra: pl.Series | None
) -> tuple[Interactions, Parts | None]:
    """Only the events in ``mask``, with new indices for the remaining users and items (and the items in ``extra``)."""
    left = interactions.filter(mask)
    has_user = np.bincount(left.users, minlength=interactions.num_users) > 0
    has_item = np.bincount(left.items, minlength=interactions.num_items) > 0
    user_row, item_row = np.cumsum(has_user) - 1, np.cumsum(has_item) - 1
    item_ids: npt.NDArray[Any] = interactions.item_ids[has_item]
    items = item_row[left.items].astype(np.int32)
    if extra is not None:
        everything = pl.concat([pl.Series(item_ids.tolist(), dtype=pl.String), extra]).unique().sort()
        position = everything.cast(pl.Enum(everything)).to_physical()
        row_of = dict(zip(everything.to_list(), position.to_list(), strict=True))
        items = np.array([row_of[str(i)] for i in item_ids], np.int32)[items]
        item_ids = id_array(everything)
    users = user_row[left.users].astype(np.int32)
    out = replace(left, user_ids=interactions.user_ids[has_user], item_ids=item_ids, users=users, items=items)
    return out, None if given is None else given[mask]
