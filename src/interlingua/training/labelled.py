"""Batches of labelled events, for a binary loss (liked or not)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.errors import DataError
from interlingua.training.batches import Negatives, Windows, as_tensor, left_padded, pair_batches


def labelled_events(train: Interactions) -> Interactions:
    """All labelled events of the training part.

    Raises:
        DataError: the data have no labels.
    """
    events = train.labelled
    if events is None or events.labels is None:
        raise DataError(
            "the training events have no labels; give a rating from which on an item is liked "
            "(--set data.label.at_least=4), or a column (--set data.columns.label=NAME)"
        )
    return events


def labelled_batches(
    train: Interactions, config: FitConfig, generator: np.random.Generator, max_history: int = 0
) -> Iterator[Batch]:
    """Every labelled training event once, in random order, with its label: what a binary loss is trained on.

    Args:
        train: the training part of labelled data; its ``labelled`` events are read.
        config: ``batch_size`` is read.
        generator: source of randomness.
        max_history: L at most; the items that the user liked *before* the event. 0: no histories.

    Raises:
        DataError: the data have no labels.
    """
    events = labelled_events(train)
    assert events.labels is not None
    own = events.liked()
    before: npt.NDArray[np.int64] = (
        np.cumsum(events.labels) - events.labels
    )  # place in ``own`` of the first that is not earlier
    order = generator.permutation(len(events))
    for start in range(0, len(order), config.batch_size):
        indices = order[start : start + config.batch_size]
        users = events.users[indices].astype(np.int64)
        batch = Batch(
            as_tensor(users), as_tensor(events.items[indices]), times=as_tensor(events.times[indices]),
            labels=torch.from_numpy(events.labels[indices].astype(np.float32)),
        )  # fmt: skip
        if max_history:
            stops = before[indices]
            begins = np.maximum(own.offsets[users], stops - max_history)
            windows = Windows(users, begins, stops - begins)
            batch = replace(
                batch, histories=as_tensor(left_padded(own.items, windows)),
                history_times=as_tensor(left_padded(own.times, windows, empty=0)),
            )  # fmt: skip
        yield batch


def labelled_or_drawn(
    train: Interactions, config: FitConfig, num_negatives: int
) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
    """Batches of an epoch: labelled events, or, where the data have no labels, events with drawn negatives.

    Args:
        train: the training part.
        config: ``batch_size`` is read.
        num_negatives: drawn for each event.
    """
    source = Negatives(train) if train.labelled is None else None

    def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        if source is None:
            return labelled_batches(train, config, generator)
        return pair_batches(train, config, generator, negatives=source, num_negatives=num_negatives)

    return make
