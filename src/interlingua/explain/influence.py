"""The influence of each history item on an item's score: the fall of the score without it, wherever it stands.

The score is the one that recommended: the known user's, with the whole history. A model that keeps one vector per known
user does not read the history at all; then a stand-in is measured, the score for the same history of an unknown user,
and the result says so.

Shape key: L different history items that are looked at, C items that are explained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from interlingua.contracts.scorer import Scorer
from interlingua.data.queries import IntArray, Queries
from interlingua.explain.support import LEAST_OF_BEST

REFERENCES = 19
"""other items against which a score is measured, so that a constant added to all scores does not count"""
LEAST_SHARE = 0.01
"""an item that makes up less than this share of the score's lead is no reason for it"""
ROUNDING = 1e-6
"""a model whose scores change by less than this share without any history does not read it"""


class Basis(StrEnum):
    """The score that was measured."""

    SCORE = "score"
    """the score that recommended"""
    HISTORY = "history"
    """a stand-in, made from the history alone: the model keeps a vector of this user and reads no history"""


@dataclass(frozen=True)
class Influence:
    """The influence of the history on the score of one item."""

    values: list[float]
    """L falls of the score, in its own unit"""
    lead: float
    """how far the score with the whole history lies above the mean of the references"""
    spread: float
    """standard deviation of the references' scores"""
    basis: Basis = Basis.SCORE
    whole: float = 0.0
    """fall of the lead without any history"""
    items: tuple[int, ...] = ()
    """L item indices, in the order in which they were last had"""

    @property
    def speaks(self) -> bool:
        """Whether the history as a whole recommends the item: it leads, and would lead less without it."""
        return self.lead > 0 and self.whole > LEAST_SHARE * max(abs(self.lead), self.spread)

    @property
    def least(self) -> float:
        """The smallest influence that is a reason; infinite where the stand-in would not recommend the item."""
        if self.basis == Basis.HISTORY and self.lead <= 0:
            return np.inf
        return LEAST_SHARE * max(abs(self.lead), self.spread)


@dataclass(frozen=True)
class Sought:
    """What was asked for in words, beside a history or alone."""

    text: str
    raised: Sequence[float]
    """(C,) how far it raises the score of each item that is explained, in the unit of the scorer's scores"""


def influences(scorer: Scorer, query: Queries, items: Sequence[int], max_history: int = 20) -> list[Influence]:
    """One influence per item, of the last ``max_history`` different items of the one query's history.

    What was had several times is left out everywhere at once: without one of two purchases much of the other is left.

    Args:
        scorer: whose recommendation it is.
        query: one query, its user known or not.
        items: C item indices; all are scored at once.
        max_history: L at most.
    """
    whole = np.asarray(query.history(0), np.int64)
    looked_at = last_different(whole, max_history)
    if not looked_at:
        return [Influence([], 0.0, 0.0) for _ in items]
    none = np.zeros(0, np.int64)
    histories: list[IntArray] = [whole, *(whole[whole != item] for item in looked_at), none]
    references = _references(scorer.num_items, whole)
    candidates = np.concatenate([np.asarray(items, np.int64), references])
    user, basis = int(query.users[0]), Basis.SCORE
    scores = _scores(scorer, histories, candidates, user)
    if user >= 0 and np.abs(scores[0] - scores[-1]).max() <= ROUNDING * np.abs(scores[0]).max():
        scores, basis = _scores(scorer, histories, candidates, -1), Basis.HISTORY
    out = []
    for column, item in enumerate(items):
        compared = len(items) + np.flatnonzero(references != item)[:REFERENCES]
        out.append(_of(scores[:, column], scores[:, compared], basis, looked_at))
    return out


def last_different(history: IntArray, most: int) -> tuple[int, ...]:
    """The last ``most`` different items of a history, in the order in which they were last had."""
    newest_first = dict.fromkeys(np.asarray(history)[::-1].tolist())
    return tuple(reversed(list(newest_first)[:most]))


def choose_support(influence: Influence) -> list[tuple[int, float]]:
    """(item index, influence) of what raised the score, strongest first; a tenth of the strongest is the least."""
    pairs = zip(influence.items, influence.values, strict=True)
    raised = [(row, float(value)) for row, value in pairs if np.isfinite(value) and value > 0]
    ordered = sorted((pair for pair in raised if pair[1] >= influence.least), key=lambda pair: -pair[1])
    return [(row, value) for row, value in ordered if value >= LEAST_OF_BEST * ordered[0][1]]


def _references(num_items: int, history: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Items outside the history, one more than is needed: the explained one may be among them."""
    free = np.ones(num_items, np.bool_)
    free[history] = False
    outside = np.flatnonzero(free)
    return np.random.default_rng(0).permutation(outside)[: REFERENCES + 1]


def _scores(
    scorer: Scorer, histories: list[IntArray], candidates: npt.NDArray[np.int64], user: int
) -> npt.NDArray[np.float64]:
    """(histories, C + references)."""
    queries = Queries.of(histories, np.full(len(histories), user))
    return scorer.score(queries, np.tile(candidates, (len(histories), 1))).astype(np.float64)


def _of(
    own: npt.NDArray[np.float64], compared: npt.NDArray[np.float64], basis: Basis, items: tuple[int, ...]
) -> Influence:
    """The influence from (1 + L + 1,) scores of the item and of the references: whole, each left out, no history."""
    relative = own - compared.mean(1) if compared.shape[1] else own
    spread = float(compared[0].std()) if compared.shape[1] else 0.0
    falls = (relative[0] - relative[1:]).tolist()
    return Influence(falls[:-1], float(relative[0]), spread, basis, falls[-1], items)
