"""The thin parent of item-item weights that are kept as products of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import FloatArray
from interlingua.contracts.scorer import Scorer, Towers
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries
from interlingua.nn.histories import history_matrix, pick, weighted_sum


class ByVectors(Backbone):
    """Weights ``L Q'`` (I, I) but for their diagonal, never made: users are sums of L over histories, items are Q.

    The products of these vectors are the scores, but for the items of the history: from theirs, what the item says of
    itself is taken away.
    """

    sampling = "none"
    dot_product = False

    summed: Tensor
    """(I, R) L"""
    scored: Tensor
    """(I, R) Q"""

    def __init__(self, config: Any, train: Interactions) -> None:
        super().__init__(config, train)
        self.register_buffer("summed", torch.zeros(train.num_items, 0))
        self.register_buffer("scored", torch.zeros(train.num_items, 0))

    def keep(self, summed: Tensor, scored: Tensor) -> None:
        """Takes what :meth:`fit` has found, (I, R) each."""
        self.summed, self.scored = summed.to(self.summed.device), scored.to(self.scored.device)

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, R) sums of L over the histories."""
        return weighted_sum(history_matrix(queries, self.num_items), self.summed)

    def item_embeddings(self) -> Tensor:
        """(I, R) Q."""
        return self.scored

    def towers(self) -> Towers:
        """The vectors, which rank all items that are not in the history as the scores do."""
        return Towers(self.user_embeddings, self.item_embeddings(), exact=False)

    def with_repeats(self) -> Scorer:
        """The same scores without vectors, whose products would rank the history's items otherwise."""
        return ByScores(self)

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Rows of ``X L Q'``, the diagonal of ``L Q'`` left out."""
        return self.products(queries, items)

    @torch.no_grad()
    def products(self, queries: Queries, items: IntArray | None = None, start: int = 0) -> FloatArray:
        """(B, I) or (B, C) scores by the columns of L and Q from ``start`` on."""
        summed, scored = self.summed[:, start:], self.scored[:, start:]
        history = history_matrix(queries, self.num_items)
        scores = (weighted_sum(history, summed) @ scored.T).float().cpu().numpy()
        known, place = np.unique(history.indices, return_inverse=True)
        indices = torch.as_tensor(known, dtype=torch.int64, device=summed.device)
        own = (summed[indices] * scored[indices]).sum(1).float().cpu().numpy()
        scores[np.repeat(np.arange(len(queries)), np.diff(history.indptr)), history.indices] -= own[place]
        return pick(scores, items)


class ByScores(Scorer):
    """The scores of another scorer, without its vectors."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.num_items = scorer, scorer.num_items

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Those of the scorer."""
        return self.scorer.score(queries, items)

    def score_unseen(self, queries: Queries, items: IntArray | None = None) -> FloatArray | None:
        """Those of the scorer."""
        return self.scorer.score_unseen(queries, items)
