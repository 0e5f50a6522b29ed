"""Selects the history items that a reason names, and those that it may call liked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from interlingua.data.queries import IntArray

LEAST_OF_BEST = 0.1
"""of the strongest influence: what raised the score less is not named beside it"""
MAX_SUPPORT = 3
"""history items that a reason names at most"""


def likings(history: IntArray, ratings: npt.NDArray[np.float32], middle: float | None = None) -> dict[int, bool]:
    """Item index -> whether the user liked it: last rated it at or above the mean of all of the user's ratings.

    Rows without a rating are left out; so are all of them where the ratings are equal, which tells nothing apart.

    Args:
        history: (L,) item indices.
        ratings: (L,) NaN where there is none.
        middle: of the scale: what lies below it is not liked, even by a user who rates everything low.
    """
    known = np.isfinite(ratings)
    if not known.any() or np.ptp(ratings[known]) == 0:
        return {}
    mean = float(ratings[known].astype(np.float64).mean())
    least = mean if middle is None else max(mean, middle)
    rated = zip(np.asarray(history)[known].tolist(), ratings[known].tolist(), strict=True)
    return {row: rating >= least - 1e-6 for row, rating in rated}


def named_support(
    found: Sequence[tuple[int, float]],
    history: IntArray,
    ratings: npt.NDArray[np.float32],
    middle: float | None = None,
) -> tuple[list[tuple[int, float]], bool]:
    """(support that is named, whether all of it was liked) of all that raised the score, strongest first.

    Liked items come first. Where none of them was liked, those of which nothing is known, and then the disliked ones,
    are named as had, not as liked.
    """
    liking = likings(history, ratings, middle)
    for liked in (True, None, False):
        some = [pair for pair in found if liking.get(pair[0]) is liked][:MAX_SUPPORT]
        if some:
            return some, liked is True
    return [], False
