"""Items without a training event, ranked among themselves: the protocol ``cold``.

The protocol ``full`` ranks them among all items (slice ``unseen items``). Both are needed: the first shows what the
texts know, the second whether such an item is recommended.
"""

from __future__ import annotations

import numpy as np

from interlingua.contracts.batch import FloatArray
from interlingua.data.queries import IntArray, Queries
from interlingua.data.split import GroundTruth
from interlingua.errors import DataError
from interlingua.evaluate.ranking import in_full
from interlingua.retrieval.positions import Positions


def cold_targets(targets: GroundTruth, item_counts: IntArray, part: str) -> GroundTruth:
    """The targets without a training event, and their users.

    Args:
        targets: of M users.
        item_counts: (I,) training events.
        part: for the error.

    Raises:
        DataError: there are none.
    """
    mask = item_counts[targets.items] == 0
    if not mask.any():
        raise DataError(
            f"the protocol 'cold' ranks items without a training event, and no target of the {part} part is one; "
            "hold some out with: --set data.split=item-cold"
        )
    return targets.filter(mask)


def in_cold(
    scores: FloatArray, targets: IntArray, owners: IntArray, seen: Queries, item_counts: IntArray, *, expected: bool
) -> tuple[Positions, Positions]:
    """Positions of targets among the items without a training event (arguments: :func:`in_full`'s)."""
    cold = item_counts == 0
    indices = np.cumsum(cold) - 1
    mask = cold[seen.items]
    owner = np.repeat(np.arange(len(seen)), seen.lengths())
    lengths = np.bincount(owner[mask], minlength=len(seen))
    masked = Queries(seen.users, indices[seen.items[mask]], np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    return in_full(np.ascontiguousarray(scores[:, cold]), indices[targets], owners, masked, expected=expected)
