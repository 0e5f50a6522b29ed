"""Samples for a yes/no question: an event that was liked or not, and the opinions before it.

Shape key: B rows, L events before the one in question.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray
from interlingua.errors import DataError
from interlingua.training.batches import Int64, Negatives, Windows, as_tensor, left_padded


def questions(events: Interactions) -> Int64:
    """(N,) numbers of the events that have an earlier one of the same user: the samples.

    Raises:
        DataError: there is none.
    """
    first = np.zeros(len(events), bool)
    first[events.offsets[:-1][events.user_counts > 0]] = True
    found = np.flatnonzero(~first)
    if not len(found):
        raise DataError("no user has two training events, so there is no question with a history: filter less")
    return found.astype(np.int64)


def opinion_batches(
    events: Interactions, chosen: IntArray, max_history: int, batch_size: int, generator: np.random.Generator
) -> Iterator[Batch]:
    """Each chosen labelled event once, in random order: its label, and the user's events before it with theirs.

    Args:
        events: labelled events.
        chosen: (N,) numbers of events (:func:`questions`).
        max_history: L at most.
        batch_size: B.
        generator: source of randomness.
    """
    assert events.labels is not None
    for stops in _batches(chosen, batch_size, generator):
        windows = _before(events, stops, max_history)
        labels = left_padded(events.labels.astype(np.int64), windows, empty=0)
        yield Batch(
            as_tensor(windows.users), as_tensor(events.items[stops]),
            histories=as_tensor(left_padded(events.items, windows)), history_labels=as_tensor(labels),
            labels=torch.from_numpy(events.labels[stops].astype(np.float32)),
        )  # fmt: skip


def sampled_opinion_batches(
    train: Interactions, chosen: IntArray, max_history: int, batch_size: int, generator: np.random.Generator,
    negatives: Negatives,
) -> Iterator[Batch]:  # fmt: skip
    """The same where nothing is labelled: each chosen event is liked, and one unseen item drawn beside it is not.

    Two rows per event: a batch has ``batch_size`` of them, but at least two. Users with every item are left out.
    """
    able = negatives.able(train.users[chosen])
    for stops in _batches(chosen if able is None else chosen[able], max(1, batch_size // 2), generator):
        windows = _before(train, stops, max_history)
        histories = as_tensor(left_padded(train.items, windows))
        drawn = negatives.draw(windows.users, generator)
        labels = torch.cat([torch.ones(len(stops)), torch.zeros(len(stops))])
        yield Batch(
            as_tensor(np.tile(windows.users, 2)), as_tensor(np.concatenate([train.items[stops], drawn])),
            histories=histories.repeat(2, 1), labels=labels,
        )  # fmt: skip


def with_drawn(train: Interactions) -> Interactions:
    """Labelled events where the data have no labels: each event is liked, and behind it an unseen item is not.

    The items are drawn once, always the same. A user who has every item has likes alone.
    """
    negatives = Negatives(train)
    able = negatives.able(train.users)
    places = np.arange(len(train)) if able is None else np.flatnonzero(able)
    drawn = negatives.draw(train.users[places].astype(np.int64), np.random.default_rng(0))
    order = np.argsort(np.concatenate([2 * np.arange(len(train)), 2 * places + 1]))
    labels = np.concatenate([np.ones(len(train), bool), np.zeros(len(places), bool)])
    every = np.concatenate([np.arange(len(train)), places])[order]
    items = np.concatenate([train.items, drawn]).astype(np.int32)[order]
    return Interactions(
        train.user_ids, train.item_ids, train.users[every], items, train.times[every], labels=labels[order]
    )  # fmt: skip


def _batches(chosen: IntArray, size: int, generator: np.random.Generator) -> Iterator[Int64]:
    order = np.asarray(chosen, np.int64)[generator.permutation(len(chosen))]
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _before(events: Interactions, stops: Int64, max_history: int) -> Windows:
    """The user's events before each event."""
    users = events.users[stops].astype(np.int64)
    lengths = np.minimum(stops - events.offsets[users], max_history)
    return Windows(users, stops - lengths, lengths)
