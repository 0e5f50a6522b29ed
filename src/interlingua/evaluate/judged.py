"""The input of metrics, and their base class.

Shape key: M users, T targets, K places of a list, P labelled pairs, I items, G categories, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from interlingua.contracts.batch import FloatArray
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.data.split import GroundTruth
from interlingua.evaluate.accuracy import Ranks, Values

Reads = Literal["ranks", "lists", "labels"]


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


@dataclass(frozen=True)
class Judged:
    """One evaluation as the input of metrics. Parts that a protocol does not judge are None (ranks: empty)."""

    ranks: Ranks = field(default_factory=lambda: Ranks.of([]))
    """positions of the targets of M users"""
    lists: npt.NDArray[np.int64] | None = None
    """(M, K) the best items that may be recommended, best first; -1 where there are fewer"""
    labels: LabelledScores | None = None
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
    """what must be judged. A metric of ``ranks`` reads nothing else; it is measured on slices too"""
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
