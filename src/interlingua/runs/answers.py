"""What a :class:`interlingua.recommender.Recommender` takes and gives: external ids, never row numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from interlingua.contracts.batch import FloatArray
from interlingua.data.allowed import Filters
from interlingua.data.files.frames import is_frame
from interlingua.data.queries import IntArray
from interlingua.errors import ConfigError, at_least_one, shown, unknown

Exclude = Sequence[str] | Mapping[str, Sequence[str]]
"""item ids; of many users also user -> item ids"""
MOST_DIVERSITY = 1000
"""from here on a list's scores, of which most lie within a few standard deviations, decide nothing but ties"""
Histories = Sequence[Sequence[str]] | Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Recommendation:
    """One recommended item."""

    item_id: str
    title: str
    score: float
    """the deciding stage's score: comparable within one answer only"""
    stage: str
    """which stage decided the place: the backbone's name, the ranker's, or ``popularity`` for a newcomer"""


@dataclass(frozen=True)
class Answer:
    """The list for one user, and notes for whoever asked."""

    items: list[Recommendation]
    notes: tuple[str, ...] = ()
    """ids that were left out, why the list is empty, that popularity decided"""
    unknown_items: tuple[str, ...] = ()
    """ids of ``history``, ``items`` and ``exclude`` that the run does not know"""


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
    space: str = ""
    """in what the items were compared, in words"""


class SimilarUser(NamedTuple):
    """A user like another."""

    user_id: str
    score: float
    """cosine, see :mod:`interlingua.runs.neighbours`"""


@dataclass(frozen=True)
class Request:
    """How lists are made: the options that every question takes."""

    k: int
    rerank: bool
    exclude: Exclude = ()
    items: Sequence[str] | None = None
    filters: Filters | None = None
    diversity: float = 0.0
    repeat: bool = False
    text: str | None = None
    text_weight: float = 0.5
    new_share: float = 0.0

    @classmethod
    def of(cls, k: int, options: Mapping[str, Any]) -> Request:
        """A request from options by name; ``rerank`` is on where it is not among them.

        Raises:
            ConfigError: an option that no question takes.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise ConfigError(unknown("option of a question", name, known))
        return cls(k, **{"rerank": True, **options})

    def key(self) -> dict[str, Any]:
        """All options, JSON-able: equal keys ask for the same."""
        listed = {"items": self.items, "exclude": self.exclude}
        if isinstance(self.exclude, Mapping):
            own = {str(user): names_of(some, f"exclude of {user!r}") for user, some in self.exclude.items()}
            return replace(self, exclude=()).key() | {"exclude": own}
        return vars(self) | {name: None if ids is None else names_of(ids, name) for name, ids in listed.items()}

    def check(self, *who: Any) -> None:
        """Refuses numbers out of range, and anything but exactly one of ``who``.

        Raises:
            ConfigError: the message says which.
        """
        given = [each is not None for each in who]
        if sum(given) > 1 or (not any(given) and self.text is None):
            raise ConfigError("give either a user or a history, or many as users or histories; or a text")
        self._check_text(many=any(given[2:]))
        at_least_one("k", self.k)
        if not _is_number(self.diversity) or not 0 <= self.diversity <= MOST_DIVERSITY:
            raise ConfigError(f"diversity must be a number from 0 to {MOST_DIVERSITY:,}, got {shown(self.diversity)}")
        if not _is_number(self.new_share) or not 0 <= self.new_share <= 1:
            raise ConfigError(f"new_share must be a number from 0 to 1, got {shown(self.new_share)}")

    def _check_text(self, many: bool) -> None:
        if self.text is None:
            return
        if many:
            raise ConfigError("a text goes with one user or history, or stands alone; ask for each user by itself")
        if not isinstance(self.text, str) or not self.text.strip():
            raise ConfigError(f"text is {shown(self.text)}; say in words what is looked for")
        try:
            self.text.encode()
        except UnicodeEncodeError:
            said = f"text is {shown(self.text)}: half of a character (a lone surrogate); give whole ones"
            raise ConfigError(said) from None
        if not _is_number(self.text_weight) or not 0 <= self.text_weight <= 1:
            raise ConfigError(f"text_weight must be a number from 0 to 1, got {shown(self.text_weight)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def one_id(given: Any, what: str, many: str = "") -> str:
    """One id as a text; ``many`` names the argument for several ids.

    Raises:
        ConfigError: several, or something that is neither a text nor a number.
    """
    if isinstance(given, str | int | float | np.generic):
        return id_text(given)
    raise ConfigError(f"{what} is {shown(given)}, and an id is a text or a number{f'; {many}' if many else ''}")


def names_of(ids: Any, what: str) -> list[str]:
    """Ids as texts. A single text is refused (it would be split into letters), and so is a frame of several columns.

    Raises:
        ConfigError: it is no list, or holds something that is neither a text nor a number.
    """
    if isinstance(ids, str | bytes | Mapping) or not isinstance(ids, Iterable) or _is_table(ids):
        raise ConfigError(f"{what} is {shown(ids)}; give a list of ids")
    names = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    if set(map(type, names)) <= {str}:  # a million of them
        return names
    wrong = next((each for each in names if not isinstance(each, str | int | float | np.generic)), None)
    if wrong is not None:
        raise ConfigError(f"{what} holds {shown(wrong)}; an id is a text or a number")
    return [id_text(each) for each in names]


def id_text(given: Any) -> str:
    """An id as data are read: of a column of numbers with gaps pandas makes ``3.0``, which is the id ``3``."""
    whole = isinstance(given, float | np.floating) and float(given).is_integer()
    return str(int(given)) if whole else str(given)


def _is_table(ids: Any) -> bool:
    """A frame of several columns; one column is a list like any other."""
    return is_frame(ids) and not (isinstance(ids, pl.Series) or np.ndim(ids) == 1)


def frame_of(
    names: Sequence[str], item_ids: Sequence[str], items: IntArray, scores: FloatArray, stages: Sequence[str]
) -> pl.DataFrame:
    """Lists of many users as ``user_id``, ``item_id``, ``score``, ``rank`` (from 1), ``stage``.

    Args:
        names: (B,) users.
        item_ids: (I,) external ids.
        items: (B, k) item indices, -1 for none.
        scores: (B, k)
        stages: (B,) the stage that decided each list.
    """
    who, rank = np.nonzero(items >= 0)
    ids = pl.Series("user_id", names, dtype=pl.String), pl.Series(item_ids, dtype=pl.String)
    return pl.DataFrame(
        {
            "user_id": ids[0].gather(who),
            "item_id": ids[1].gather(items[who, rank]),
            "score": pl.Series(scores[who, rank], dtype=pl.Float32),
            "rank": pl.Series(rank + 1, dtype=pl.Int64),
            "stage": pl.Series(stages, dtype=pl.String).gather(who),
        }
    )
