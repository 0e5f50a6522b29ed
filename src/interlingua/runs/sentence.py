"""Lists for a sentence: it stands in the run's space as an item with that text would, and ranks as a history of it.

In a fusion the members that read texts are heard, plainly: weights that were learned on histories do not fit a question
without one. What the run would answer without the sentence is added with a weight, both standardised over the
catalogue: the scores of a history; for somebody without one, what the recipe says of newcomers where it does, else the
logarithm of an item's training events; in both, items without any count as average.

Shape key: B queries, I items.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.scorer import BoolArray, Scorer
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import ConfigError, shown
from interlingua.explain.influence import Sought
from interlingua.runs.answers import Request
from interlingua.runs.grown import Grown, refusal, spoken
from interlingua.runs.scorers import retriever_of

if TYPE_CHECKING:
    from interlingua.runs.session import Session

REMEMBERED = 64
"""sentences whose scores are made ready"""


class Sentence(Scorer):
    """Scores of the items for one sentence, and for any histories beside it.

    Args:
        session: a run that has been grown by the sentence.
        scorer: what scores histories, without the sentence.
        weight: of the sentence: 0 leaves it out, 1 is the sentence alone.
    """

    def __init__(self, session: Grown, scorer: Scorer, weight: float) -> None:
        self.scorer, self.weight, self.num_items = scorer, weight, scorer.num_items
        readers = [part for part in session.grown_members if part.places] if session.members else [session]
        said = [retriever_of(part)[1].score(Queries.of([[self.num_items]]))[:, : self.num_items] for part in readers]
        scores = np.mean([standardised(np.asarray(each, np.float32)) for each in said], axis=0)
        self.own = standardised(np.asarray(scores, np.float32))  # (1, I)
        counts, nothing = session.data.split.train.item_counts[: self.num_items], list[int]()
        welcome = scorer.score(Queries.of([nothing])) if scorer.welcomes_newcomers else np.log1p(counts)[None, :]
        self.popular = popularity(np.asarray(welcome, np.float32), counts > 0)

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """See :class:`Scorer`."""
        scores = np.repeat(self.weight * self.own + (1 - self.weight) * self.popular, len(queries), axis=0)
        some = np.flatnonzero((queries.lengths() > 0) | (np.asarray(queries.users) >= 0))
        if len(some) and self.weight < 1:
            theirs = standardised(np.asarray(self.scorer.score(queries.take(some)), np.float32))
            scores[some] = self.weight * self.own + (1 - self.weight) * theirs
        return scores if items is None else np.take_along_axis(scores, np.asarray(items, np.int64), axis=1)

    def sought(self, text: str, items: Sequence[int]) -> Sought:
        """How far the sentence raises the scores of some items (indices) above that of an average one."""
        return Sought(text, [float(self.weight * self.own[0, item]) for item in items])

    def with_weight(self, weight: float) -> Sentence:
        """The same sentence with another weight."""
        other = Sentence.__new__(Sentence)
        other.__dict__ |= self.__dict__ | {"weight": weight}
        return other


class Sentences:
    """The sentences that one run has been asked, the last ones remembered."""

    def __init__(self, session: Session, scorer: Scorer) -> None:
        self.session, self._scorer = session, scorer
        self._known: OrderedDict[str, Sentence | None] = OrderedDict()

    def scorer(self, text: str, weight: float) -> Sentence | None:
        """What ranks for a sentence; None: none of its words says anything to the run.

        Raises:
            ConfigError: the run reads no texts, or cannot read new ones.
        """
        if text not in self._known:
            self._known[text] = self._made(text)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(text)
        found = self._known[text]
        return None if found is None else found.with_weight(weight)

    def _made(self, text: str) -> Sentence | None:
        session = spoken(self.session, text)
        if not session.places:
            raise ConfigError(f"text: {refusal(session)}")
        return Sentence(session, self._scorer, 1.0) if session.says else None


def popularity(scores: FloatArray, known: BoolArray) -> FloatArray:
    """(1, I) scores with mean 0 and spread 1 over the items ``known`` (I,), those with events; 0 for the others."""
    out = np.zeros_like(scores)
    if known.any():
        out[:, known] = standardised(scores[:, known])
    return out


def standardised(scores: FloatArray) -> FloatArray:
    """(B, I) with mean 0 and spread 1 over the items; equal scores become 0."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    return np.asarray(centred / np.where(spread > 0, spread, 1.0), np.float32)


def text_notes(reads: bool, request: Request, has_ranker: bool) -> list[str]:
    """What is to be said of an answer to a sentence: that it says nothing, or that no language model ordered it."""
    if not reads:
        return [f"text: no word of {shown(request.text)} says anything to the run; it was left out"]
    if request.rerank and has_ranker:
        return ["text: the ranker reads items, not sentences; what retrieves has ranked"]
    return []
