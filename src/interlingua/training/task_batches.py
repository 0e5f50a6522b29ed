"""Batches whose rows ask different things: of events, of items by themselves, of users as a whole.

Shape key: B rows of a batch, L positions, n rows of a part, I items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, IntArray
from interlingua.errors import DataError
from interlingua.training.batches import Windows, as_tensor, left_padded

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """Stretches of histories, and the item in question of each."""

    windows: Windows
    items: Int64
    """(n,) the item behind the stretch, or an item by itself (then the stretch is empty)"""

    def take(self, indices: IntArray) -> Samples:
        """Some of them."""
        return Samples(self.windows.take(indices), self.items[indices])

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class Part:
    """Samples that may be asked for in several ways."""

    samples: Samples
    plain: Int64
    """numbers of the wordings in which each of the rows can be asked"""
    further: Int64
    """numbers of those in which only ``able`` rows can"""
    able: npt.NDArray[np.bool_]
    """(n,)"""

    def usable(self) -> Part:
        """The rows that can be asked in some way."""
        if len(self.plain):
            return self
        keep = np.flatnonzero(self.able) if len(self.further) else np.zeros(0, np.int64)
        return Part(self.samples.take(keep), self.plain, self.further, self.able[keep])


def event_samples(train: Interactions, length: int) -> Samples:
    """Every event but a user's first, after at most ``length`` events before it."""
    first = np.zeros(len(train), bool)
    first[train.offsets[:-1][train.user_counts > 0]] = True
    stops = np.flatnonzero(~first)
    users = train.users[stops].astype(np.int64)
    lengths = np.minimum(stops - train.offsets[users], length)
    return Samples(Windows(users, stops - lengths, lengths), train.items[stops].astype(np.int64))


def last_samples(train: Interactions, length: int) -> Samples:
    """The last event of every user with two, after at most ``length`` events before it."""
    every = event_samples(train, length)
    last = np.flatnonzero(np.diff(every.windows.users, append=-1) != 0)
    return every.take(last)


def item_samples(items: IntArray) -> Samples:
    """Items (n,) by themselves."""
    nothing = np.zeros(len(items), np.int64)
    return Samples(Windows(nothing, nothing, nothing), np.asarray(items, np.int64))


def user_samples(train: Interactions, length: int) -> Samples:
    """Every user with an event, after the last ``length`` events; the item is the latest."""
    users = np.flatnonzero(train.user_counts > 0)
    lengths = np.minimum(train.user_counts[users], length).astype(np.int64)
    stops = train.offsets[users + 1]
    return Samples(Windows(users, stops - lengths, lengths), train.items[stops - 1].astype(np.int64))


def task_batches(
    train: Interactions, parts: Sequence[Part], size: int, generator: np.random.Generator, *, even: bool = False
) -> Iterator[Batch]:
    """All rows once in random order, each in one of its wordings by chance; ``wordings`` has the wordings' numbers.

    Args:
        train: the events to which windows point.
        parts: the rows.
        size: B.
        generator: source of randomness.
        even: every part gives equally many rows, as many together as there are: some are left out, others come again.

    Raises:
        DataError: no row.
    """
    parts = [each for each in (part.usable() for part in parts) if len(each.samples)]
    total = sum(len(part.samples) for part in parts)
    if not total:
        raise DataError("no row is left to train on: no user has two events, and no item is wordings for by itself")
    drawn, wordings = [], []
    for part in parts:
        count = -(-total // len(parts)) if even else len(part.samples)
        again = count > len(part.samples)
        chosen = generator.choice(len(part.samples), count, replace=again)
        drawn.append(part.samples.take(chosen))
        wordings.append(_wordings(part, part.able[chosen], generator))
    samples = _joined(drawn)
    numbers = np.concatenate(wordings)
    order = generator.permutation(len(samples))
    for start in range(0, len(order), size):
        some = order[start : start + size]
        some_samples = samples.take(some)
        width = int(some_samples.windows.lengths.max())
        block = left_padded(train.items, some_samples.windows) if width else np.full((len(some), 1), PAD, np.int64)
        yield Batch(
            as_tensor(some_samples.windows.users), as_tensor(some_samples.items), histories=as_tensor(block),
            wordings=as_tensor(numbers[some]),
        )  # fmt: skip


def _joined(parts: Sequence[Samples]) -> Samples:
    windows = [each.windows for each in parts]
    joined = Windows(
        np.concatenate([each.users for each in windows]),
        np.concatenate([each.starts for each in windows]),
        np.concatenate([each.lengths for each in windows]),
    )
    return Samples(joined, np.concatenate([each.items for each in parts]))


def _wordings(part: Part, able: npt.NDArray[np.bool_], generator: np.random.Generator) -> Int64:
    """A number for each row."""
    every = np.concatenate([part.plain, part.further])
    free = every[generator.integers(0, len(every), len(able))]
    if not len(part.plain):
        return free
    bound = part.plain[generator.integers(0, len(part.plain), len(able))]
    return np.where(able, free, bound)
