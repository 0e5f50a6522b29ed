"""Which targets belong together: cold and warm items, cold users, history lengths.

A slice marks *targets*. A user is counted in a slice if at least one of their targets is marked, and only the marked
ones count as relevant there; their ranks are unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from interlingua.data.queries import IntArray
from interlingua.errors import ConfigError

HISTORY_BINS = ((0, 0), (1, 2), (3, 5), (6, 10), (11, None))
"""first and last history length of each slice"""
EVENT_BINS = ((0, 0), (1, 2), (3, 5), (6, 10), (11, 20), (21, 50), (51, None))
"""fewest and most training events of the target, of each slice"""


@dataclass(frozen=True)
class SliceOptions:
    """The borders of the slices."""

    item_share: float = 0.35
    """cold and warm items: this fraction of the catalogue with the fewest and most events (A-LLMRec, section 5.2)"""
    cold_user_history: int = 3
    """cold users have at most this many items in their history"""
    exact: bool = False
    """cold users have exactly that many (A-LLMRec: exactly three interactions, the last one held out: use 2)"""

    def __post_init__(self) -> None:
        if not 0 < self.item_share <= 0.5:
            raise ConfigError(f"item_share must be above 0 and at most 0.5; got {self.item_share}")


@dataclass(frozen=True)
class Slice:
    """Marked targets, with a definition in words."""

    definition: str
    targets: npt.NDArray[np.bool_]
    """(T,)"""


def repeat_slices(repeated: npt.NDArray[np.bool_]) -> dict[str, Slice]:
    """The slices of repeated targets, which the user had before, and of new ones; ``repeated``: (T,)."""
    found = {
        "repeated items": Slice("targets that the user's history already holds", repeated),
        "new items": Slice("targets that the user's history does not hold", ~repeated),
    }
    return {name: each for name, each in found.items() if each.targets.any()}


def make_slices(
    target_items: IntArray,
    histories: IntArray,
    item_counts: IntArray,
    options: SliceOptions | None = None,
) -> dict[str, Slice]:
    """All slices that hold at least one target.

    Args:
        target_items: (T,) item indices of the targets.
        histories: (T,) history length of each target's user, as the query shows it.
        item_counts: (I,) training events of each item.
        options: borders.

    Returns:
        Slice name -> slice. ``cold items`` and ``warm items`` are exact shares of the catalogue ordered by (training
        events, row): items at the border may have as many events as items beyond it; the definition names the border.
    """
    options = options or SliceOptions()
    order = np.argsort(item_counts, kind="stable")
    size = int(round(len(item_counts) * options.item_share, 6))  # 180 * 0.35 is 62.99... in binary
    cold, warm = np.zeros(len(item_counts), bool), np.zeros(len(item_counts), bool)
    cold[order[:size]] = True
    warm[order[len(order) - size :]] = True
    percent = f"{options.item_share:.0%}".replace("%", " %")
    low = int(item_counts[order[size - 1]]) if size else 0
    high = int(item_counts[order[-size]]) if size else 0
    events = item_counts[target_items]
    few = histories == options.cold_user_history if options.exact else histories <= options.cold_user_history
    most = "exactly" if options.exact else "at most"
    bottom = f"targets among the bottom {percent} of items: up to {low} training events"
    between = f"targets among the {1 - 2 * options.item_share:.0%} of items between".replace("%", " %")
    top = f"targets among the top {percent} of items: {high} or more training events"
    found = {
        "cold items": Slice(bottom, cold[target_items]),
        "warm items": Slice(top, warm[target_items]),
        "middle items": Slice(between, ~(cold | warm)[target_items]),
        "unseen items": Slice("targets without any training event", events == 0),
        "cold users": Slice(f"users with {most} {options.cold_user_history} items in their history", few),
    }
    for name, inside in event_bins(events).items():
        found[name] = Slice(f"targets with {name.removeprefix('events ')} training events", inside)
    for first, last in HISTORY_BINS:
        name = str(first) if first == last else f"{first}-{last}" if last else f">{first - 1}"
        inside = (histories >= first) & (histories <= last if last is not None else True)
        found[f"history {name}"] = Slice(f"users with {name} items in their history", inside)
    return {name: each for name, each in found.items() if each.targets.any()}


def event_bins(events: IntArray) -> dict[str, npt.NDArray[np.bool_]]:
    """``events 3-5`` -> (T,) the targets with so many training events; a method of ids alone rises steeply over them.

    Args:
        events: (T,) training events of each target.
    """
    names = [str(first) if first == last else f"{first}-{last}" if last else f"{first}+" for first, last in EVENT_BINS]
    return {
        f"events {name}": (events >= first) & (events <= (np.inf if last is None else last))
        for name, (first, last) in zip(names, EVENT_BINS, strict=True)
    }
