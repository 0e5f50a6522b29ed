"""Left-padded histories shifted so that a row's first event is at column 0, and states of queries by length.

What comes after a row's events is then the only padding, which no causal model reads: a row gives the same states
whatever its padding.

Shape key: B rows, L positions, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from interlingua.data.queries import PAD, IntArray, Queries

QUERY_ROWS = 256
"""histories read at once when scoring, sorted by length"""
Cut = Callable[[IntArray, IntArray], Iterable[IntArray]]
"""(rows in the order of their lengths, these lengths, 1 or more) -> parts of the rows, each of them read together"""


@dataclass(frozen=True)
class Shifted:
    """The last events of B histories, each row's first one at column 0."""

    indices: Tensor
    """(B, L) item indices; any item (0 or more) from a row's length on"""
    columns: Tensor
    """(B, L) the column in the left-padded rows; L or more from a row's length on"""
    real: Tensor
    """(B, L) bool: columns that hold an event"""
    lengths: Tensor
    """(B,)"""


def shift(histories: Tensor, max_history: int) -> Shifted:
    """The last ``max_history`` events of left-padded rows (B, L)."""
    histories = histories[:, -max_history:]
    width = histories.shape[1]
    lengths = (histories != PAD).sum(1)
    columns = torch.arange(width, device=histories.device)[None, :] + (width - lengths)[:, None]
    indices = histories.gather(1, columns.clamp(max=width - 1)).clamp(min=0)
    return Shifted(indices, columns, columns < width, lengths)


def positions_mask(lengths: Tensor, width: int) -> Tensor:
    """(B, L) true in the first ``lengths[b]`` columns."""
    return torch.arange(width, device=lengths.device)[None, :] < lengths[:, None]


def last_state(states: Tensor, lengths: Tensor) -> Tensor:
    """(B, D) the state of each row's last event; of an empty row, the state of its first padding."""
    return states[torch.arange(len(states), device=states.device), (lengths - 1).clamp(min=0)]


def rows_of(size: int) -> Cut:
    """Parts of ``size`` rows."""
    return lambda order, lengths: (order[start : start + size] for start in range(0, len(order), size))


by_rows = rows_of(QUERY_ROWS)
"""parts of :data:`QUERY_ROWS` rows"""


@torch.no_grad()
def by_length(
    queries: Queries, max_history: int, out: Tensor, read: Callable[[Tensor], Tensor], cut: Cut = by_rows
) -> Tensor:
    """Fills ``out`` (B, D) with what ``read`` makes of left-padded rows; those of similar length are read together.

    Args:
        queries: B of them.
        max_history: events of a history that are read.
        out: on the device where rows are read.
        read: (n, L) histories, L at least 1, to (n, D) vectors.
        cut: which rows are read together.
    """
    lengths = np.minimum(queries.lengths(), max_history)
    order = np.argsort(lengths, kind="stable")
    for part in cut(order, np.maximum(lengths[order], 1)):
        padded = queries.take(part).padded(max(int(lengths[part[-1]]), 1))
        out[torch.from_numpy(part).to(out.device)] = read(torch.from_numpy(padded).to(out.device))
    return out
