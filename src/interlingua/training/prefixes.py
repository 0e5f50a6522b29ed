"""Prefixes of histories, each with the event that follows it: some of every user, in batches of different users or not.

Shape key: B rows, L positions, P prefixes, U users.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.training.batches import Windows, as_tensor, left_padded, require_histories

Int64 = npt.NDArray[np.int64]


def spread(train: Interactions, count: int) -> Int64:
    """(P,) numbers of the events that follow the chosen prefixes: up to ``count`` of each user, evenly over the
    history, the last event among them; ascending.

    Raises:
        DataError: no user has two events (see :func:`interlingua.training.batches.require_histories`).
    """
    users = np.flatnonzero(train.user_counts >= 2)
    require_histories(len(users))
    targets = train.user_counts[users] - 1
    chosen = np.minimum(targets, count)
    owner = np.repeat(np.arange(len(users)), chosen)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(chosen) - chosen, chosen) + 1
    return train.offsets[users][owner] + (place * targets[owner]) // chosen[owner]


def by_different_users(events: Int64, train: Interactions, size: int, generator: np.random.Generator) -> list[Int64]:
    """The events in random order, cut into batches in which no user is twice."""
    order = events[generator.permutation(len(events))]
    owners = train.users[order]
    grouped = np.argsort(owners, kind="stable")
    first = np.flatnonzero(np.diff(owners[grouped], prepend=-1))
    sizes = np.diff(first, append=len(grouped))
    turn = np.empty(len(order), np.int64)  # a user's first, second, ... in this order
    turn[grouped] = np.arange(len(grouped)) - np.repeat(first, sizes)
    rounds = [order[turn == n] for n in range(int(sizes.max()))]
    parts = [each[at : at + size] for each in rounds for at in range(0, len(each), size)]
    return [parts[at] for at in generator.permutation(len(parts))]


def by_users(events: Int64, train: Interactions, size: int, generator: np.random.Generator) -> list[Int64]:
    """All events of ``size`` users, a user's side by side, in their order."""
    owners = train.users[events]
    first = np.flatnonzero(np.diff(owners, prepend=-1))
    each = np.split(events, first[1:])
    order = generator.permutation(len(each))
    return [np.concatenate([each[n] for n in order[at : at + size]]) for at in range(0, len(order), size)]


def prefix_batches(train: Interactions, parts: list[Int64], max_history: int) -> Iterator[Batch]:
    """A batch for each of ``parts``: the prefixes before these events, in the order given, without negatives."""
    for events in parts:
        users = train.users[events].astype(np.int64)
        lengths = np.minimum(events - train.offsets[users], max_history)
        read = Windows(users, events - lengths, lengths)
        yield Batch(
            as_tensor(users), as_tensor(train.items[events]), histories=as_tensor(left_padded(train.items, read)),
            times=as_tensor(train.times[events]), history_times=as_tensor(left_padded(train.times, read, empty=0)),
            events=as_tensor(events),
        )  # fmt: skip
