"""The thin parent of item-item weights that are kept as products of vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from interlingua.contracts.backbone import Backbone
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.nn.histories import history_matrix, weighted_sum


class ByVectors(Backbone):
    """Weights ``L Q'`` (I, I) that are never made: users are sums of L over their histories, items are Q."""

    sampling = "none"

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
