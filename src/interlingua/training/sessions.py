"""Sessions side by side: batches of a few steps in time, in which a row takes the next session when one ends.

Hidasi et al. 2016 (arXiv 1511.06939, figure 3): a user's whole history is a session here. The model carries each row's
state from batch to batch, and forgets it where ``fresh`` says that a session begins.

Shape key: B rows, K steps of a batch, S steps of an epoch.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, IntArray
from interlingua.errors import DataError
from interlingua.training.batches import as_tensor

Int64 = npt.NDArray[np.int64]


def session_batches(
    train: Interactions,
    batch_size: int,
    steps: int,
    generator: np.random.Generator,
    *,
    least: int = 2,
    resets: Literal["once", "port"] = "once",
) -> Iterator[Batch]:
    """All sessions of two events or more, in random order.

    Args:
        train: training events.
        batch_size: B.
        steps: K.
        generator: source of randomness.
        least: the epoch ends when fewer rows have a target (the others would be their negatives).
        resets: ``once``: a session's first step is fresh. ``port``: it stays so until another session begins.

    Yields:
        histories (B, K), the event that is read, positives (B, K), the one after it, both PAD where a row has run out,
        and fresh (B, K). The first step of an epoch is fresh in every row.

    Raises:
        DataError: fewer than ``least`` sessions.
    """
    users = np.flatnonzero(train.user_counts >= 2)
    if len(users) < least:
        raise DataError(
            f"{len(users)} users have a history of two events in the training part, so there is no next item to learn "
            f"from {least} sessions side by side: hold out less (leave-one-out takes two events of every user), or "
            "keep users with more events (filter.min_user)"
        )
    order = generator.permutation(users)
    places, begins, owners = side_by_side(train, order, min(batch_size, len(order)))
    running = (places >= 0).sum(0)
    stop = int((running >= least).sum())  # rows only run out at the end
    fresh = begins if resets == "once" else held(begins)
    for start in range(0, stop, steps):
        at = places[:, start : min(start + steps, stop)]
        real = at >= 0
        yield Batch(
            as_tensor(owners[:, start]),
            as_tensor(np.where(real, train.items[at + 1], PAD)),
            histories=as_tensor(np.where(real, train.items[at], PAD)),
            fresh=torch.from_numpy(fresh[:, start : start + at.shape[1]].copy()),
        )


def side_by_side(train: Interactions, order: IntArray, count: int) -> tuple[Int64, npt.NDArray[np.bool_], Int64]:
    """Who is read when: (B, S) numbers of the events that are read, -1 where a row has run out, which of them begin
    a session, and whose they are.

    Args:
        train: training events.
        order: users in the order in which their sessions begin; the row that is free first takes the next one.
        count: B.
    """
    free = [(0, row) for row in range(count)]
    laid: list[tuple[int, int, int]] = []
    for user in order:
        begin, row = heapq.heappop(free)
        laid.append((row, begin, int(user)))
        heapq.heappush(free, (begin + int(train.user_counts[user]) - 1, row))
    width = max(end for end, _ in free)
    places, owners = np.full((count, width), -1, np.int64), np.zeros((count, width), np.int64)
    begins = np.zeros((count, width), bool)
    for row, begin, user in laid:
        length = int(train.user_counts[user]) - 1
        places[row, begin : begin + length] = train.offsets[user] + np.arange(length)
        owners[row, begin:] = user
        begins[row, begin] = True
    return places, begins, owners


def held(begins: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(B, S) with every column after the first as the last one before it in which a session began; at first, none."""
    some = begins.sum(axis=0) > 0
    some[0] = False
    last = np.maximum.accumulate(np.where(some, np.arange(len(some)), -1))
    out = np.where(last[None, :] >= 0, begins[:, np.maximum(last, 0)], False)
    out[:, 0] = begins[:, 0]
    return out
