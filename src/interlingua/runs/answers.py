"""What a :class:`interlingua.recommender.Recommender` takes and gives: external ids, never row numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from interlingua.contracts.batch import FloatArray
from interlingua.data.allowed import Filters
from interlingua.data.queries import IntArray
from interlingua.errors import ConfigError, shown

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
    exclude: Sequence[str] = ()
    items: Sequence[str] | None = None
    filters: Filters | None = None
    diversity: float = 0.0
    repeat: bool = False


def names_of(ids: Any, what: str) -> list[str]:
    """Ids as texts; one text alone would be taken apart into letters.

    Raises:
        ConfigError: no list.
    """
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise ConfigError(f"{what} is {shown(ids)}; give a list of ids")
    return [str(each) for each in ids]


def frame_of(names: Sequence[str], item_ids: Sequence[str], items: IntArray, scores: FloatArray) -> pl.DataFrame:
    """Lists of many users as ``user_id``, ``item_id``, ``score``, ``rank`` (from 1).

    Args:
        names: (B,) users.
        item_ids: (I,) external ids.
        items: (B, k) item rows, -1 for none.
        scores: (B, k)
    """
    who, rank = np.nonzero(items >= 0)
    ids = pl.Series("user_id", names, dtype=pl.String), pl.Series(item_ids, dtype=pl.String)
    return pl.DataFrame(
        {
            "user_id": ids[0].gather(who),
            "item_id": ids[1].gather(items[who, rank]),
            "score": pl.Series(scores[who, rank], dtype=pl.Float32),
            "rank": pl.Series(rank + 1, dtype=pl.Int64),
        }
    )
