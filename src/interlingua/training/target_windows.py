"""Windows of a few events and the few that follow them: batches of models that read a fixed number of events.

Shape key: B rows, L events read, T targets, K negatives of a row.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD
from interlingua.training.batches import Negatives, Windows, able_rows, as_tensor, left_padded


def target_windows(train: Interactions, inputs: int, targets: int) -> Windows:
    """Every stretch of ``inputs + targets`` events, one step apart; of users with fewer the one stretch that they have.

    Users with one event have none: nothing could be read before their target.
    """
    counts = train.user_counts
    users = np.flatnonzero(counts >= 2)
    pieces = np.maximum(counts[users] - (inputs + targets) + 1, 1)
    owners = np.repeat(users, pieces)
    step = np.arange(len(owners)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return Windows(owners, train.offsets[owners] + step, np.minimum(counts[owners], inputs + targets))


def target_batches(
    train: Interactions,
    inputs: int,
    targets: int,
    batch_size: int,
    generator: np.random.Generator,
    *,
    negatives: Negatives | None = None,
    num_negatives: int = 0,
) -> Iterator[Batch]:
    """Every window of :func:`target_windows` once, in random order.

    Args:
        train: training events.
        inputs: L, events that are read.
        targets: T, events that follow; a short window has at least one event that is read, and fewer targets.
        batch_size: windows of a batch.
        generator: source of randomness.
        negatives: a prepared sampler; users with every item are left out. None: no negatives.
        num_negatives: K, of a window (not of a target).

    Yields:
        histories (B, L) and positives (B, T), both left-padded with PAD, and negatives (B, K).

    Raises:
        DataError: no user has two events (see :func:`interlingua.training.batches.require_histories`).
    """
    windows = able_rows(target_windows(train, inputs, targets), negatives)
    order = generator.permutation(len(windows))
    for start in range(0, len(order), batch_size):
        part = windows.take(order[start : start + batch_size])
        counts = np.minimum(part.lengths - 1, targets)
        read = Windows(part.users, part.starts, part.lengths - counts)
        aimed = Windows(part.users, part.starts + read.lengths, counts)
        drawn = None if negatives is None else as_tensor(negatives.draw(part.users, generator, num_negatives))
        yield Batch(
            as_tensor(part.users),
            as_tensor(_wide(left_padded(train.items, aimed), targets)),
            drawn,
            as_tensor(_wide(left_padded(train.items, read), inputs)),
        )


def _wide(padded: np.ndarray, width: int) -> np.ndarray:
    """Left-padded rows (B, n) as (B, ``width``)."""
    return np.pad(padded, ((0, 0), (width - padded.shape[1], 0)), constant_values=PAD)
