"""Samples for a yes/no question: an event that was liked or not, and the opinions before it.

Shape key: B rows, L events before the one in question.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray
from interlingua.errors import DataError
from interlingua.training.batches import Int64, Negatives, Windows, as_tensor, left_padded
from interlingua.training.demonstrations import other_items


def questions(events: Interactions, drawn: bool = False) -> Int64:
    """(N,) numbers of the events that have an earlier one of the same user: the samples.

    Args:
        events: N' events, or labelled ones.
        drawn: they are those of :func:`with_drawn`. Then both events of a pair are samples where something is before
            the pair; an event that has no drawn one is none, for its answer is always the same.

    Raises:
        DataError: there is none.
    """
    usable = np.ones(len(events), bool)
    starts = events.offsets[:-1][events.user_counts > 0]
    usable[starts] = False
    if drawn:
        assert events.labels is not None
        second = ~events.labels
        paired = np.append(second[1:], False)
        usable[starts[paired[starts]] + 1] = False
        usable &= second | paired
    found = np.flatnonzero(usable)
    if not len(found):
        raise DataError("no user has two training events, so there is no question with a history: filter less")
    return found.astype(np.int64)


def opinion_batches(
    events: Interactions, chosen: IntArray, max_history: int, batch_size: int, generator: np.random.Generator,
    *, drawn: bool = False,
) -> Iterator[Batch]:  # fmt: skip
    """Each chosen labelled event once, in random order: its label, and the user's events before it with theirs.

    Args:
        events: labelled events.
        chosen: (N,) numbers of events (:func:`questions`).
        max_history: L at most.
        batch_size: B.
        generator: source of randomness.
        drawn: the events are those of :func:`with_drawn`. Both of a pair are asked after what is before the pair, as
            otherwise the label before would tell the answer.
    """
    assert events.labels is not None
    for stops in _batches(chosen, batch_size, generator):
        ends = stops - ~events.labels[stops] if drawn else stops
        windows = _before(events, ends, max_history)
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

    The items are drawn once, always the same. A user who has every item has likes alone. Whoever asks about these
    events says so (``drawn`` of :func:`questions` and :func:`opinion_batches`).
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


def history_with_drawn(history: IntArray, num_items: int) -> tuple[Int64, npt.NDArray[np.bool_]]:
    """The items of one history and their labels, as :func:`with_drawn` makes them of training events.

    Args:
        history: (n,) items, oldest first.
        num_items: those that may be drawn; equal histories have equal ones.
    """
    liked = np.asarray(history, np.int64)
    negatives = other_items(np.random.default_rng(liked.tolist()), num_items, set(liked.tolist()), len(liked))
    if not negatives:
        return liked, np.ones(len(liked), bool)
    return np.stack([liked, np.resize(negatives, len(liked))], axis=1).ravel(), np.tile([True, False], len(liked))


def _batches(chosen: IntArray, size: int, generator: np.random.Generator) -> Iterator[Int64]:
    order = np.asarray(chosen, np.int64)[generator.permutation(len(chosen))]
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _before(events: Interactions, stops: Int64, max_history: int) -> Windows:
    """The user's events before each event."""
    users = events.users[stops].astype(np.int64)
    lengths = np.minimum(stops - events.offsets[users], max_history)
    return Windows(users, stops - lengths, lengths)
