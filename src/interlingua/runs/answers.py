"""What a :class:`interlingua.recommender.Recommender` takes and gives: external ids, never row numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Histories = Sequence[Sequence[str]] | Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Recommendation:
    """One recommended item."""

    item_id: str
    title: str
    score: float
    """the deciding stage's score: comparable within one answer only"""
    stage: str
    """which stage decided the place: the backbone's name, or the ranker's"""


class Support(NamedTuple):
    """A history item that a reason rests on."""

    item_id: str
    title: str
    influence: float
    """how much the recommended item's score falls without it"""
    rating: float | None = None
    """what the user said of it, where that is known"""


class SimilarItem(NamedTuple):
    """An item like another."""

    item_id: str
    title: str
    score: float
    """cosine, see :mod:`interlingua.runs.neighbours`"""


class SimilarUser(NamedTuple):
    """A user like another."""

    user_id: str
    score: float
    """cosine, see :mod:`interlingua.runs.neighbours`"""


@dataclass(frozen=True)
class Asked:
    """How lists are made: the options that every question takes."""

    k: int
    rerank: bool
    exclude: Sequence[str]
    diversity: float
    repeat: bool
