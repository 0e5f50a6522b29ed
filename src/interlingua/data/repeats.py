"""Repeat consumption: events of a user with a known item (groceries, music, restaurants).

Most recommenders are measured on new items, so by default the first event of each pair is kept. If users come back
to known items, ``filter.duplicates = "keep"`` keeps every event, and the protocol ``full-repeat`` ranks items
of the history too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from interlingua.data.queries import Queries
from interlingua.data.split import GroundTruth, Part, Split
from interlingua.runtime.sorted_sets import among, distinct

if TYPE_CHECKING:
    from interlingua.data.interactions import Interactions

MANY = 0.1
"""least fraction of repeats in a dataset of repeat consumption"""
STEP = "unique pairs"
"""step of preparation that drops repeats (:mod:`interlingua.data.filter`)"""


def repeated_pairs(events: Interactions) -> int:
    """Events whose user has an earlier event with the item."""
    pairs = events.users.astype(np.int64) * max(events.num_items, 1) + events.items
    return len(pairs) - len(distinct(pairs))


def repeats(events: Interactions, steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The number of repeats in the source, their fraction, and whether they were kept.

    Args:
        events: of the prepared dataset.
        steps: its card's steps, which count dropped events.
    """
    removed = [step for step in steps if step.get("step") == STEP]
    left, total = repeated_pairs(events), len(events)
    if removed:
        left, total = int(removed[0]["rows_in"]) - int(removed[0]["rows_out"]), int(removed[0]["rows_in"])
    return {"events": left, "share": left / total if total else 0.0, "kept": not removed and left > 0}


def warning(found: Mapping[str, Any]) -> str | None:
    """Advice for a dataset of repeat consumption; None for any other."""
    if found["share"] < MANY:
        return None
    keep = "" if found["kept"] else 'keep them with filter.duplicates = "keep", '
    return (
        f"repeat consumption: {found['share']:.0%} of the events repeat an item that the user had before; {keep}"
        'measure with the protocol full-repeat (evaluate.protocols = ["full-repeat"]) and ask with recommend --repeat'
    )


def in_history(targets: GroundTruth, queries: Queries, num_items: int) -> npt.NDArray[np.bool_]:
    """(T,) whether a target is in the history of its query."""
    history = np.repeat(np.arange(len(queries)), queries.lengths()) * num_items + queries.items
    held = np.repeat(np.arange(len(targets)), np.diff(targets.offsets)) * num_items + targets.items
    return among(held, history)


def repeat_share(split: Split, part: Part) -> float:
    """Fraction of a part's targets that are already in the user's history."""
    targets = split.targets(part)
    if not len(targets.items):
        return 0.0
    return float(in_history(targets, split.queries(part), split.train.num_items).mean())
