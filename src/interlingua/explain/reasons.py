"""The words of a reason: which history items are named, what may be called liked, and a sentence without a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from interlingua.data.catalogue import split_categories
from interlingua.data.domain import Domain
from interlingua.data.queries import IntArray
from interlingua.explain.influence import Basis

MAX_SUPPORT = 3
"""history items that a reason names at most"""


def likings(history: IntArray, ratings: npt.NDArray[np.float32], middle: float | None = None) -> dict[int, bool]:
    """Item index -> whether the user liked it: rated it, last time, at or above the mean of all of the user's ratings.

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


def wording(domain: Domain, liked: bool) -> Domain:
    """The domain's words with ``past`` as it stands behind "you": "liked", or "have watched"."""
    return replace(domain, past="liked" if liked else f"have {domain.past}")


def rule_sentence(names: Sequence[str], about: Sequence[str], words: Domain, basis: Basis = Basis.SCORE) -> str:
    """The sentence made from the evidence alone; the last name and text are the recommended item's.

    The category that most of the support shares with the item is named, with those that share it and no others.

    Args:
        names: of the support, strongest first, and of the item.
        about: categories of each.
        words: see :func:`wording`.
        basis: on a stand-in nothing is said of what raised the score.
    """
    *had, target = names
    if not had:
        return f"{target} fits the history as a whole; no single {words.noun} in it decided the recommendation."
    having = {
        c: [n for n, text in zip(had, about[:-1], strict=True) if c in split_categories(text)]
        for c in split_categories(about[-1])
    }
    best = max(having, key=lambda c: len(having[c]), default="")
    if not having.get(best):
        if basis == Basis.HISTORY:
            return f"{target} goes with {listed(had)}, which you {words.past}."
        return f"{target} is recommended because you {words.past} {listed(had)}."
    shared = [c for c, names_of in having.items() if names_of == having[best]][:2]
    without = [name for name in had if name not in having[best]]
    raised = "It also goes with {}." if basis == Basis.HISTORY else "{} raised its score too."
    extra = f" {raised.format(listed(without))}" if without else ""
    return f"{target} shares {listed(shared)} with {listed(having[best])}, which you {words.past}.{extra}"


def listed(names: Sequence[str]) -> str:
    """``A``, ``A and B``, ``A, B and C``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
