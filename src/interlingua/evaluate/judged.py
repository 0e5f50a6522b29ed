"""The input of metrics, and their base class.

Shape key: M users, T targets, K places of a list, P labelled pairs, I items, G categories, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from interlingua.contracts.batch import FloatArray
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.data.split import GroundTruth
from interlingua.evaluate.accuracy import Ranks, Values

Reads = Literal["ranks", "lists", "labels", "answers"]


@dataclass(frozen=True)
class ItemFacts:
    """Facts about items apart from their events; a metric whose facts are missing is refused."""

    categories: sp.csr_matrix | None = None
    """(I, G) 1 where an item has a category"""
    vectors: FloatArray | None = None
    """(I, D)"""
    vectors_of: str = ""
    """whose vectors these are, for the report"""


@dataclass(frozen=True)
class LabelledScores:
    """Scores of P labelled pairs of a user and an item: the label says whether the user liked the item."""

    owners: npt.NDArray[np.int64]
    """(P,) position of each pair's user"""
    labels: npt.NDArray[np.bool_]
    """(P,) liked"""
    scores: npt.NDArray[np.float64]
    """(P,) higher is more likely liked; read as logits by metrics of probabilities"""
    num_users: int

    def pooled(self, values: Values, counted: npt.NDArray[Any], weights: Values) -> Values:
        """(R,) means over the pairs of all users together; NaN where the users that count have no pair that does.

        Args:
            values: (P,) of each pair.
            counted: (P,) how much each pair counts, e.g. whether it does.
            weights: (R, M) how often each user counts.
        """
        sums, counts = (
            weights @ np.bincount(self.owners, weights=each, minlength=self.num_users)
            for each in (values * counted, counted)
        )
        out = np.full(len(weights), np.nan)
        np.divide(sums, counts, out=out, where=counts > 0)
        return out


@dataclass(frozen=True)
class Answers:
    """Which of its candidates each of M users' answers names: those that share the best score.

    All candidates with one score are no answer: nothing, or everything, was named.
    """

    named: npt.NDArray[np.int64]
    """(M,) number of candidates that share the best score; 0 for no answer"""
    right: npt.NDArray[np.bool_]
    """(M,) a target is among them; False for no answer"""

    @classmethod
    def of(cls, scores: FloatArray, real: npt.NDArray[np.bool_], target: npt.NDArray[np.bool_]) -> Answers:
        """From scores (B, C), which of the places (B, C) hold a candidate, and which of those hold a target."""
        shown = np.where(real, scores, -np.inf)
        best = real & (shown == shown.max(axis=1, keepdims=True))
        named, count = best.sum(1).astype(np.int64), real.sum(1)
        named[(named == count) & (count > 1)] = 0
        return cls(named, (best & target).any(1) & (named > 0))

    @classmethod
    def joined(cls, parts: Sequence[Answers]) -> Answers | None:
        """Of several blocks of users; None: of none."""
        if not parts:
            return None
        return cls(np.concatenate([p.named for p in parts]), np.concatenate([p.right for p in parts]))


@dataclass(frozen=True)
class Judged:
    """One evaluation as the input of metrics. Parts that a protocol does not judge are None (ranks: empty)."""

    ranks: Ranks = field(default_factory=lambda: Ranks.of([]))
    """positions of the targets of M users"""
    lists: npt.NDArray[np.int64] | None = None
    """(M, K) the best items that may be recommended, best first; -1 where there are fewer"""
    labels: LabelledScores | None = None
    answers: Answers | None = None
    candidates: int | None = None
    """how many items a target was ranked among; None: the whole catalogue"""
    targets: GroundTruth | None = None
    """of the same M users"""
    queries: Queries | None = None
    """(M,) the queries of these users"""
    train: Interactions | None = None
    facts: ItemFacts = ItemFacts()

    @property
    def num_users(self) -> int:
        """M"""
        return self.labels.num_users if self.labels is not None else 0 if self.lists is None else len(self.lists)

    def written(self) -> Answers:
        """The answers among candidates."""
        assert self.answers is not None
        return self.answers

    @property
    def num_cells(self) -> int:
        """Number of pairs, or items, that a metric of all users together reads."""
        return len(self.labels.labels) if self.labels is not None else self.known().num_items

    def shown(self, k: int) -> sp.csr_matrix:
        """(M, I) 1 where an item stands among the first k of a user's list."""
        top = self.top(k)
        indices, places = np.nonzero(top >= 0)
        shape = (len(top), self.known().num_items)
        return sp.csr_matrix((np.ones(len(indices)), (indices, top[indices, places])), shape=shape)

    def top(self, k: int) -> npt.NDArray[np.int64]:
        """(M, k) the first k places of the lists; a catalogue of fewer items gives fewer columns."""
        assert self.lists is not None
        return self.lists[:, :k]

    def known(self) -> Interactions:
        """The training events."""
        assert self.train is not None
        return self.train

    @cached_property
    def having(self) -> npt.NDArray[np.int64]:
        """(I,) users with a training event of each item."""
        return np.asarray(self.known().matrix().sum(axis=0)).ravel().astype(np.int64)


class Metric:
    """One metric. Its file's name is its name, written ``name@k``, or without ``@k`` where ``cut`` is False."""

    kind: ClassVar[str] = "metric"
    reads: ClassVar[Reads] = "ranks"
    """what must be judged. A metric of ``ranks`` reads nothing else; it is measured on slices too. ``answers`` are
    there for protocols with candidates"""
    cut: ClassVar[bool] = True
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[frozenset[str]] = frozenset()
    """facts of items that it needs: ``categories``, ``vectors``"""

    weighs: ClassVar[bool] = False
    """True: one number for all users together; :meth:`weighed` computes it for weighted users"""

    def weighed(self, judged: Judged, k: int, weights: Values) -> Values:
        """(R,) the number if each user counts as often as the (R, M) weights say."""
        raise NotImplementedError(f"{type(self).__name__} weighs no users")

    def measure(self, judged: Judged, k: int) -> Values | float:
        """(M,) one value per user, NaN where it is not defined; or one number of all users together.

        Args:
            judged: the result of the protocol.
            k: the cut-off; 0 where the name has none.
        """
        raise NotImplementedError

    def note(self, judged: Judged, found: Values | float) -> str:
        """A note for readers of the number, e.g. why it is undefined; empty: none."""
        return ""
