"""Which values an event may have: the scale of the data's ratings, or yes and no.

- Data with labels, and no ratings: 1 (liked) or 0.
- Data with ratings: from 0 to the end of their scale: the first of 1, 5, 10 and 100 that no rating exceeds, above that
  ten times the highest one (counts grow). Where some rating is below 0, as far below 0 as above it.
- Data with neither: no model reads a value; numbers up to a million either way are kept.

A value outside is a mistake (of units, of a sign, of a column), and one such as 1e308 would outweigh all others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from interlingua.errors import shown

ENDS = (1.0, 5.0, 10.0, 100.0)
"""where scales of ratings end"""
GROWTH = 10.0
"""times the highest of ratings that have no such end"""
UNREAD = 1e6
"""largest value where nothing reads it"""


@dataclass(frozen=True)
class Scale:
    """The values of events of some data."""

    lowest: float
    highest: float
    known: str
    """what the data have, for errors"""
    whole: bool = False
    """nothing between ``lowest`` and ``highest``"""

    def fits(self, value: float | None) -> bool:
        """Whether an event may have this value."""
        if value is None or (self.whole and value in (self.lowest, self.highest)):
            return True
        return not self.whole and self.lowest <= value <= self.highest

    def problem(self, value: float | None) -> str:
        """What is wrong with a value, and what to do; empty: nothing."""
        if self.fits(value):
            return ""
        allowed = f"{self.lowest:g} {'or' if self.whole else 'to'} {self.highest:g}"
        return f"value is {shown(value)}; the run's data have {self.known}: give {allowed}, or leave it out"


def scale_of(ratings: npt.NDArray[np.floating] | None, labelled: bool) -> Scale:
    """The scale of data.

    Args:
        ratings: (N,) of events, NaN: none; None: the data have none.
        labelled: whether events have labels.
    """
    known = np.zeros(0) if ratings is None else ratings[np.isfinite(ratings)]
    if not len(known):
        return Scale(0, 1, "labels (liked or not)", True) if labelled else Scale(-UNREAD, UNREAD, "no ratings")
    lowest, highest = float(known.min()), float(known.max())
    size = max(highest, -lowest)
    end = next((end for end in ENDS if size <= end), GROWTH * size)
    return Scale(0.0 if lowest >= 0 else -end, end, f"ratings from {lowest:g} to {highest:g}")
