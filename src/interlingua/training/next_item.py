"""Shared parts of models that predict the next item at every position: batches, and states with their targets.

Shape key: B rows, L positions, D width, N negatives, n positions with a target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch, Encoded
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD
from interlingua.training.batches import Negatives, sequence_batches

DENSE = 50
"""items of the catalogue per negative up to which scores of all items cost less than the negatives' vectors gathered
(forward and backward, one EPYC core, 4 to 256 negatives)"""


def next_item_batches(
    train: Interactions, config: Any, fit: FitConfig, negatives: Negatives | None = None
) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
    """Rows of all users with a target at every position; negatives only for losses that sample.

    Args:
        train: training events.
        config: ``loss``, ``num_negatives``, ``max_history``, ``long_histories`` and ``batch_by`` are read.
        fit: ``batch_size`` is read.
        negatives: who draws them; None: uniformly.
    """
    num = 0 if config.loss in ("ce", "shared-ce", "in-batch") else config.num_negatives
    source = negatives or Negatives(train) if num else None

    def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
        return sequence_batches(
            train, config.max_history, fit.batch_size, generator, num, negatives=source,
            long_histories=config.long_histories, batch_by=config.batch_by,
        )  # fmt: skip

    return make


def with_targets(encoded: Encoded, batch: Batch, real: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """(n, D) states that have a target, their targets (n,), and negatives (n,) or (n, N).

    Args:
        encoded: all states (B, L, D), shifted to the front, first in ``private``.
        batch: one target per position, or (B,) positives for the last state alone.
        real: (B, L) positions that hold an event.
    """
    if batch.positives.dim() == 1:
        return encoded.query, batch.positives, batch.negatives
    valid = batch.positives != PAD  # left-padded, while the states are shifted to the front: same order, row by row
    negatives = None if batch.negatives is None else batch.negatives[valid]
    return encoded.private[0][real], batch.positives[valid], negatives


def sequences_of(batch: Batch, real: Tensor) -> tuple[Tensor, Tensor]:
    """The row (n,) of each state of :func:`with_targets`, and all items (B, L + 1) of each row; PAD where none is.

    Args:
        batch: with histories.
        real: as for :func:`with_targets`.
    """
    assert batch.histories is not None
    place = batch.positives.device
    if batch.positives.dim() == 1:
        owners, last = torch.arange(len(batch), device=place), batch.positives[:, None]
    else:
        owners, last = real.nonzero(as_tuple=True)[0], batch.positives[:, -1:]
    return owners, torch.cat([batch.histories, last], dim=1)


def pair_scores(states: Tensor, table: Tensor, targets: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) scores of the targets and (n, N) of the negatives, given states (n, D) and items (I, D)."""
    positive = (states * functional.embedding(targets, table)).sum(-1)
    indices = negatives.reshape(len(targets), -1)
    if len(table) <= DENSE * (indices.shape[1] - 1):
        return positive, (states @ table.T).gather(1, indices)
    return positive, torch.einsum("nd,nkd->nk", states, functional.embedding(indices, table))
