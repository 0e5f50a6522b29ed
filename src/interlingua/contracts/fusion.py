"""Fusions: they join the members of ``[fuse]`` into one scorer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.component import Component
from interlingua.contracts.scorer import Scorer
from interlingua.data.queries import IntArray, Queries

if TYPE_CHECKING:
    from interlingua.data.interactions import Interactions


class Fusion(Component, Scorer):
    """Joins the scores of M members over one catalogue. A new one is one file in ``fuse/``.

    Members are scorers of finished runs and do not change: only :meth:`join` and what :meth:`calibrate` learns belong
    to the fusion.
    """

    kind: ClassVar[str] = "fuse"

    def __init__(self, config: Any, members: Sequence[Scorer], train: Interactions) -> None:
        super().__init__()
        self.config = config
        self.members = tuple(members)  # not registered: their weights are stored with them
        self.num_items = train.num_items

    def of(self, members: Sequence[Scorer]) -> Self:
        """The same fusion, with everything it learned, over other members."""
        other = copy.copy(self)
        other.members = tuple(members)
        return other

    def extended(self, members: Sequence[Scorer], train: Interactions) -> Self:
        """The same fusion, with everything it learned, over members that know more items (at the end of ``train``)."""
        other = self.of(members)
        other.num_items = train.num_items
        return other

    def member_scores(self, queries: Queries) -> FloatArray:
        """(M, B, I) float32."""
        return np.stack([np.asarray(member.score(queries, None), np.float32) for member in self.members])

    def join(self, scores: FloatArray) -> FloatArray:
        """(B, I) joined scores from the members' scores (M, B, I)."""
        raise NotImplementedError

    def with_repeats(self) -> Self:
        """The same fusion of the members' :meth:`with_repeats`."""
        return self.of([member.with_repeats() for member in self.members])

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """See :class:`Scorer`. Candidates have the same scores as in the whole catalogue."""
        joined = np.asarray(self.join(self.member_scores(queries)), np.float32)
        return joined if items is None else np.take_along_axis(joined, np.asarray(items, np.int64), axis=1)
