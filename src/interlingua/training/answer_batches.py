"""Training batches of prompts that several of a user's items answer.

Shape key: B rows, L history, M answers, C candidates.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, IntArray
from interlingua.training.batches import Negatives, Windows, able_rows, as_tensor, bucketed, left_padded


def answer_batches(
    train: Interactions,
    max_history: int,
    batch_size: int,
    generator: np.random.Generator,
    *,
    negatives: Negatives,
    num_candidates: int,
    answers: int,
    all_positions: bool = False,
) -> Iterator[Batch]:
    """Rows with up to M answers: a user's next items after a history, all of which stand among the candidates.

    A user's events are cut from the end: the last M are answers, then (``all_positions``) the M before them with the
    history before those, until the first event, which is nobody's answer. So each event is an answer at most once, and
    no history holds an answer of its own row.

    Args:
        train: training events.
        max_history: L at most; longer histories keep their last events.
        batch_size: rows of a batch.
        generator: source of randomness.
        negatives: draws candidates that the user has no training event with.
        num_candidates: C.
        answers: M.
        all_positions: every event but a user's first is an answer, not only the last M.

    Yields:
        ``positives`` (B, M), the next one first, PAD behind a shorter row; ``negatives`` (B, C) of which a row with m
        answers has C - m, PAD behind them.
    """
    windows, counts = _windows(train, max_history, answers, all_positions)
    for part in bucketed(able_rows(windows, negatives), batch_size, generator):
        ends = part.starts + part.lengths
        sizes = counts[ends - 1]
        before = Windows(part.users, part.starts, part.lengths - sizes)
        step = np.arange(answers)[None, :]
        places = np.minimum((ends - sizes)[:, None] + step, len(train) - 1)
        targets = np.where(step < sizes[:, None], train.items[places], PAD)
        drawn = negatives.draw(part.users, generator, num_candidates)
        drawn[np.arange(num_candidates)[None, :] >= num_candidates - sizes[:, None]] = PAD
        yield Batch(
            as_tensor(part.users), as_tensor(targets), as_tensor(drawn), as_tensor(left_padded(train.items, before))
        )


def _windows(train: Interactions, max_history: int, answers: int, all_positions: bool) -> tuple[Windows, IntArray]:
    """Stretches of histories with their answers, and (events,) the number of answers that end at each event."""
    targets = np.maximum(train.user_counts - 1, 0)
    pieces = -(-targets // answers) if all_positions else np.minimum(targets, 1)
    users = np.repeat(np.arange(train.num_users), pieces)
    number = np.arange(len(users)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    ends = train.offsets[1:][users] - number * answers
    sizes = np.minimum(answers, ends - train.offsets[:-1][users] - 1)
    lengths = np.minimum(ends - sizes - train.offsets[:-1][users], max_history) + sizes
    counts = np.zeros(len(train), np.int64)
    counts[ends - 1] = sizes
    return Windows(users.astype(np.int64), ends - lengths, lengths), counts
