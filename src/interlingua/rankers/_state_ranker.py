"""A language model that learns, whose state after a history is compared with a vector of every item.

States are made once for a set of weights; an index can search the items' vectors.

Shape key: B rows, I items, n items that came later, H' width of a state, W what is compared.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.ranker import RankerInputs
from interlingua.contracts.scorer import Towers, products
from interlingua.data.queries import IntArray, Queries
from interlingua.injection.remembered import Remembered
from interlingua.progress import track
from interlingua.rankers._tuned_ranker import TunedRanker

AT_ONCE = 16
"""queries per forward pass of the language model when scoring"""


class StateRanker(TunedRanker):
    """A subclass writes :meth:`states`, :meth:`_queries` and :meth:`_item_outputs`."""

    ranks_catalogue = True
    validation = "ranking"
    words: ClassVar[bool] = False

    def __init__(self, config: Any, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        self._known, self._outputs = Remembered(), torch.zeros(0, 0)

    def states(self, queries: Queries) -> Tensor:
        """(B, H') states of the language model after what the queries' prompts say."""
        raise NotImplementedError

    def key(self, queries: Queries, row: int) -> Hashable:
        """What the state of one query depends on besides the weights: by default the last events."""
        return queries.history(row)[-self.read_length :].tobytes()

    def _queries(self, states: Tensor) -> Tensor:
        """(B, H') states -> (B, W) what meets those of :meth:`_item_outputs`."""
        raise NotImplementedError

    def _item_outputs(self) -> Tensor:
        """(I, W) vectors of the items, or (I - n, W) of those that were trained."""
        raise NotImplementedError

    @property
    def read_length(self) -> int:
        """Events of a history that are read."""
        return int(self.config.history_length)

    def _forget(self) -> None:
        """States and outputs."""
        self._known.forget()
        self._outputs = torch.zeros(0, 0)

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, W) what the items' outputs are multiplied with; a history is read once for a set of weights."""
        self.eval()
        self._place()
        if not len(queries):
            return self.all_item_embeddings()[:0]
        keys = [self.key(queries, row) for row in range(len(queries))]
        return self._known.of(keys, lambda indices: self._read(queries.take(indices)))

    def _read(self, queries: Queries) -> Tensor:
        """(B, W) of queries; those of similar length run together."""
        order = np.argsort(np.minimum(queries.lengths(), self.read_length), kind="stable")
        parts = [order[at : at + AT_ONCE] for at in range(0, len(order), AT_ONCE)]
        made = torch.cat([self._queries(self.states(queries.take(part))) for part in track(parts, "histories")])
        return made[torch.as_tensor(np.argsort(order), device=made.device)]

    @torch.no_grad()
    def all_item_embeddings(self) -> Tensor:
        """(I, W) the items' outputs, made once for a set of weights; those that came later than the matrix: its mean.

        The matrix itself where none came later: who changes it in place copies it first.
        """
        if len(self._outputs) != self.num_items or self._outputs.device != self.device:
            outputs = self._item_outputs().detach()
            later = outputs.mean(0, keepdim=True).expand(self.num_items - len(outputs), -1)
            self._outputs = torch.cat([outputs, later]) if len(later) else outputs
        return self._outputs

    def towers(self) -> Towers:
        """States and outputs: an index can search them."""
        return Towers(self.user_embeddings, self.all_item_embeddings())

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Scores of the catalogue, or of candidates (see :class:`interlingua.contracts.scorer.Scorer`)."""
        return products(self.user_embeddings(queries), self.all_item_embeddings(), items)
