"""Training batches from interactions: uniform negatives and batches of pairs or sequences, all vectorised over users.

Shape key: B rows of a batch, L positions, N negatives per positive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, IntArray
from interlingua.errors import DataError
from interlingua.progress import say
from interlingua.runtime.sorted_sets import distinct

Int64 = npt.NDArray[np.int64]
POOL = 16
"""batches whose rows are sorted by length together: enough to trim padding, few enough to keep batches random"""


class Negatives:
    """Draws items that a user has no training event with, each with equal probability and without rejection.

    A user with every item has no negative: batches with negatives leave such users' rows out, which is said once here.

    Of a user's sorted items ``p_0 < p_1 < ...`` the value ``p_j - j`` counts the absent items below ``p_j``. So the
    r-th absent item is ``r`` plus the number of j with ``p_j - j <= r``: one binary search per draw.
    """

    def __init__(self, train: Interactions) -> None:
        self.num_items = train.num_items
        pairs = distinct(train.users.astype(np.int64) * self.num_items + train.items)
        users, items = pairs // max(self.num_items, 1), pairs % max(self.num_items, 1)
        counts = np.bincount(users, minlength=train.num_users)
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._absent = self.num_items - counts
        below = items - (np.arange(len(pairs)) - self._starts[users])
        self._keys = users * (self.num_items + 1) + below
        self._ids = train.user_ids
        self.complete = np.flatnonzero((self._absent < 1) & (train.user_counts > 0))
        """users who have every item"""
        if len(self.complete):
            self._say_complete(train)

    def _say_complete(self, train: Interactions) -> None:
        left_out = int(train.user_counts[self.complete].sum())
        if left_out == len(train):
            raise DataError(
                f"every user has all {self.num_items} items in training: there is nothing to tell a chosen item from; "
                "filter less, or train with a loss over all items (ce)"
            )
        count = len(self.complete)
        say(
            f"{count} user{'s have' if count > 1 else ' has'} all {self.num_items} items in training "
            f"(e.g. {self._ids[self.complete[0]]}): no negative can be drawn, {left_out:,} of {len(train):,} events "
            "are left out of the loss"
        )

    def able(self, users: IntArray) -> npt.NDArray[np.bool_] | None:
        """Which of the users can be given a negative; None: all of them, whoever is asked."""
        return ~np.isin(users, self.complete) if len(self.complete) else None

    def draw(self, users: IntArray, generator: np.random.Generator, num: int | None = None) -> Int64:
        """Item indices absent from the training events of each user.

        Args:
            users: any shape; user indices.
            generator: source of randomness.
            num: draws per entry (with replacement), appended as a last axis; None: one, no new axis.

        Raises:
            DataError: one of the users has every item of the catalogue.
        """
        who = np.asarray(users, np.int64)
        if num is not None:
            who = np.broadcast_to(who[..., None], (*who.shape, num))
        absent = self._absent[who]
        if absent.size and absent.min() < 1:
            full = int(who.flat[int(np.argmin(absent))])
            raise DataError(
                f"the user {self._ids[full]} has all {self.num_items} items in training: no negative can be drawn; "
                "leave out users who are not able() to have one, or train with a loss that needs none (ce)"
            )
        rank = (generator.random(who.shape) * absent).astype(np.int64)
        before = np.searchsorted(self._keys, who * (self.num_items + 1) + rank, side="right") - self._starts[who]
        return rank + before


@dataclass(frozen=True)
class Windows:
    """Stretches of training histories: row r is ``train.items[starts[r] : starts[r] + lengths[r]]`` of ``users[r]``."""

    users: Int64
    starts: Int64
    lengths: Int64

    def take(self, indices: IntArray) -> Windows:
        """The stretches at the given positions."""
        return Windows(self.users[indices], self.starts[indices], self.lengths[indices])

    def __len__(self) -> int:
        return len(self.users)


def last_windows(train: Interactions, max_history: int) -> Windows:
    """One stretch per user with at least two events: its last ``max_history + 1`` events (inputs plus last target)."""
    users = np.flatnonzero(train.user_counts >= 2)
    lengths = np.minimum(train.user_counts[users], max_history + 1)
    return Windows(users, train.offsets[users + 1] - lengths, lengths)


def tiled_windows(train: Interactions, max_history: int, generator: np.random.Generator | None = None) -> Windows:
    """Stretches that cover *every* event of long users: each event but a user's first is a target exactly once.

    Cuts of a user lie ``max_history`` apart, counted from the end; with a generator they are shifted at random, so that
    no event is always the first (and without context) in its stretch.
    """
    users = np.flatnonzero(train.user_counts >= 2)
    targets = train.user_counts[users] - 1
    shift = np.zeros(len(users), np.int64)
    if generator is not None:
        shift = np.where(targets > max_history, generator.integers(0, max_history, len(users)), 0)
    pieces = -(-(targets + shift) // max_history)
    owner = np.repeat(np.arange(len(users)), pieces)
    index = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    stop = targets[owner] + shift[owner] - index * max_history
    begin = np.maximum(stop - max_history, 0)
    stop = np.minimum(stop, targets[owner])
    return Windows(users[owner], train.offsets[users[owner]] + begin, stop - begin + 1)


def pair_batches(
    train: Interactions,
    config: FitConfig,
    generator: np.random.Generator,
    *,
    negatives: Negatives | None = None,
    num_negatives: int = 1,
) -> Iterator[Batch]:
    """Every training event once, in random order, each with fresh negatives; users with every item are left out.

    Args:
        train: training events.
        config: ``batch_size`` is read.
        generator: source of randomness.
        negatives: a prepared sampler (made anew otherwise).
        num_negatives: 1 gives (B,) negatives, more give (B, N).
    """
    source = negatives or Negatives(train)
    order = generator.permutation(len(train))
    able = source.able(train.users[order])
    if able is not None:
        order = order[able]
    if not len(order):
        raise DataError("the training part has no event: nothing to train on; filter less or hold out less")
    for start in range(0, len(order), config.batch_size):
        indices = order[start : start + config.batch_size]
        users = train.users[indices].astype(np.int64)
        drawn = source.draw(users, generator, None if num_negatives == 1 else num_negatives)
        yield Batch(
            as_tensor(users), as_tensor(train.items[indices]), as_tensor(drawn), times=as_tensor(train.times[indices])
        )


def sequence_batches(
    train: Interactions,
    max_history: int,
    batch_size: int,
    generator: np.random.Generator,
    num_negatives: int = 1,
    *,
    negatives: Negatives | None = None,
    long_histories: str = "last",
    batch_by: str = "sequences",
) -> Iterator[Batch]:
    """One row per user (or stretch) with a target at every position; rows of similar length share a batch.

    A step takes the mean over its batch. Batches of equally many rows therefore weigh users alike: a target of a long
    history has a small part in its step, one of a short history a large part. Batches of equally many *targets* weigh
    events alike, as training on one row per prefix does. Which is better depends on the data: see benchmarks/LOG.md.

    Args:
        train: training events; users with fewer than two are left out, and with negatives users with every item.
        max_history: L at most.
        batch_size: rows of a batch, on average.
        generator: source of randomness.
        num_negatives: per position: 0 none, 1 gives (B, L), more give (B, L, N). PAD where there is no target.
        negatives: a prepared sampler (made anew otherwise).
        long_histories: ``last`` trains the last ``max_history`` targets of a user; ``windows`` all, in stretches.
        batch_by: what batches hold equally many of: ``sequences``, or ``events`` as nearly as sequences allow.
    """
    source = None if num_negatives == 0 else negatives or Negatives(train)
    windows = (
        last_windows(train, max_history) if long_histories == "last" else tiled_windows(train, max_history, generator)
    )
    windows = able_rows(windows, source)
    for part in bucketed(windows, batch_size, generator, batch_by):
        block = left_padded(train.items, part)
        histories, targets = block[:, :-1], block[:, 1:]
        targets = np.where(histories == PAD, PAD, targets)  # a row's first event is nobody's target
        drawn = None
        if source is not None:
            mask = targets != PAD
            owners = np.broadcast_to(part.users[:, None], targets.shape)[mask]
            num = None if num_negatives == 1 else num_negatives
            shape = targets.shape if num is None else (*targets.shape, num)
            drawn = np.full(shape, PAD, np.int64)
            drawn[mask] = source.draw(owners, generator, num)
        times = left_padded(train.times, part, empty=0)
        yield Batch(
            as_tensor(part.users), as_tensor(targets), None if drawn is None else as_tensor(drawn),
            as_tensor(histories),
            times=as_tensor(np.where(targets == PAD, 0, times[:, 1:])), history_times=as_tensor(times[:, :-1]),
        )  # fmt: skip


def last_position_batches(
    train: Interactions,
    max_history: int,
    batch_size: int,
    generator: np.random.Generator,
    *,
    negatives: Negatives | None = None,
    num_negatives: int = 1,
    all_positions: bool = False,
    stops: IntArray | None = None,
) -> Iterator[Batch]:
    """Rows with one target: the user's last training event, the events before it as history, a random negative.

    Args:
        train: training events; users with fewer than two are left out, and with negatives users with every item.
        max_history: L at most; longer histories keep their last events.
        batch_size: rows of a batch.
        generator: source of randomness.
        negatives: a prepared sampler (made anew otherwise).
        num_negatives: 0 none, 1 gives (B,), more give (B, N).
        all_positions: every event but a user's first is a target once (A-LLMRec_all), not only the last.
        stops: (n,) event numbers of the targets, instead of either.
    """
    source = None if num_negatives == 0 else negatives or Negatives(train)
    if stops is not None:
        stops = np.asarray(stops, np.int64)
    elif all_positions:
        first = np.zeros(len(train), bool)
        first[train.offsets[:-1][train.user_counts > 0]] = True
        stops = np.flatnonzero(~first)
    else:
        stops = train.offsets[1:][train.user_counts >= 2] - 1
    users = train.users[stops].astype(np.int64)
    lengths = np.minimum(stops - train.offsets[users], max_history)
    windows = able_rows(Windows(users, stops - lengths, lengths + 1), source)
    for part in bucketed(windows, batch_size, generator):
        block = left_padded(train.items, part)
        drawn = None
        if source is not None:
            drawn = as_tensor(source.draw(part.users, generator, None if num_negatives == 1 else num_negatives))
        times = as_tensor(left_padded(train.times, part, empty=0))
        yield Batch(
            as_tensor(part.users), as_tensor(block[:, -1]), drawn, as_tensor(block[:, :-1]),
            times=times[:, -1], history_times=times[:, :-1],
        )  # fmt: skip


def able_rows(windows: Windows, negatives: Negatives | None) -> Windows:
    """The rows that can be trained on.

    Raises:
        DataError: none.
    """
    able = None if negatives is None else negatives.able(windows.users)
    windows = windows if able is None else windows.take(np.flatnonzero(able))
    require_histories(len(windows))
    return windows


def require_histories(count: int) -> None:
    """Refuses a training part in which no event follows another.

    Args:
        count: histories (or stretches of them) of two events and more that are left.

    Raises:
        DataError: none.
    """
    if not count:
        raise DataError(
            "no history of two events is left in the training part, so there is no next item to learn: hold out less "
            "(leave-one-out takes two events of every user), keep users with more events (filter.min_user), or use a "
            "method that reads pairs"
        )


def bucketed(
    windows: Windows, batch_size: int, generator: np.random.Generator, batch_by: str = "sequences"
) -> Iterator[Windows]:
    """Random batches of similar length: random pools, each sorted by length and cut, then batches in random order."""
    order = generator.permutation(len(windows))
    pool = POOL * batch_size
    targets = windows.lengths - 1
    target_count = max(1, round(batch_size * float(targets.mean()))) if len(windows) else 1
    batches: list[Int64] = []
    for start in range(0, len(order), pool):
        part = order[start : start + pool]
        part = part[np.argsort(windows.lengths[part], kind="stable")]
        if batch_by == "sequences":
            batches += [part[at : at + batch_size] for at in range(0, len(part), batch_size)]
        else:
            number = (np.cumsum(targets[part]) - 1) // target_count
            batches += np.split(part, np.flatnonzero(np.diff(number)) + 1)
    for at in generator.permutation(len(batches)):
        yield windows.take(batches[at])


def left_padded(values: IntArray, windows: Windows, empty: int = PAD) -> Int64:
    """(B, longest) the rows' items or times, oldest first; ``empty`` before them."""
    width = int(windows.lengths.max())
    columns = np.arange(width)[None, :] - (width - windows.lengths)[:, None]
    where = columns >= 0
    places = np.where(where, windows.starts[:, None] + np.where(where, columns, 0), 0)
    return np.where(where, values[places] if len(values) else empty, empty).astype(np.int64)


def as_tensor(values: IntArray) -> torch.Tensor:
    """Whole numbers as int64."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))
