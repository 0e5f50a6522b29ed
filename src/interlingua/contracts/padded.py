"""A backbone over more items than it has learned: the others stand behind its own.

Where texts give them vectors in the backbone's space, its users score these. Else they are what they would have been in
training without an event: 0 of a sum over events (:attr:`Backbone.without_events`), or an average item.

Shape key: B queries, I learned items, n others, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from interlingua.contracts.added import AddedItems
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Embeddings, FloatArray
from interlingua.contracts.scorer import Scorer, Towers
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries


class Padded(Backbone):
    """A backbone with n items behind its own; see :func:`padded`."""

    base_class: ClassVar[type[Backbone]] = Backbone
    with_vectors = True

    def __init__(self, base: Backbone, added: AddedItems) -> None:
        torch.nn.Module.__init__(self)
        self.config, self.base, self.count, self.added = base.config, base, added.count, added.items
        self.num_users, self.num_items = base.num_users, base.num_items + added.count
        self.job = added.job

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Those of the backbone."""
        return cls.base_class.needs(config)

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """What the backbone makes."""
        return cls.base_class.makes(config)

    @property
    def by_products(self) -> bool:
        """Whether scores are products of vectors."""
        return {"items", "users", "dot_product"} <= self.makes(self.config)

    def input_embeddings(self) -> Embeddings:
        """Those of the backbone, without the others."""
        return self.base.input_embeddings()

    def learned_items(self, train: Interactions) -> Tensor:
        """(I + n,) the backbone's own; none of the others."""
        own = self.base.learned_items(self.job.train)
        return torch.cat([own, own.new_zeros(self.count)])

    def learned_users(self, train: Interactions) -> Tensor:
        """Those of the backbone."""
        return self.base.learned_users(self.job.train)

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, D) by the learned items of the history; a stranger who has only others is the mean of their vectors."""
        known = queries.below(self.base.num_items)
        users = self.base.user_embeddings(known)
        if self.added is None or known is queries:
            return users
        new = np.asarray(queries.users < 0) & (known.lengths() == 0) & (queries.lengths() > 0)
        users = users.clone()
        for row in np.flatnonzero(new):
            items = torch.as_tensor(queries.history(int(row)), dtype=torch.int64) - self.base.num_items
            users[int(row)] = self.added[items].mean(0).to(users)
        return users

    def users_over(self, items: Tensor) -> Callable[[Queries], Tensor] | None:
        """The backbone's own, by its own items."""
        users = self.base.users_over(items[: self.base.num_items])
        return None if users is None else lambda queries: users(queries.below(self.base.num_items))

    def item_embeddings(self) -> Tensor:
        """(I + n, D) of the others by their texts, or the mean of all."""
        own = self.base.item_embeddings()
        return torch.cat([own, self._rest(own)])

    def _rest(self, own: Tensor) -> Tensor:
        return own.mean(0, keepdim=True).expand(self.count, -1) if self.added is None else self.added.to(own)

    def item_bias(self) -> Tensor | None:
        """(I + n,) the others have the mean."""
        own = self.base.item_bias()
        return None if own is None else torch.cat([own, own.mean().expand(self.count)])

    def towers(self) -> Towers | None:
        """The backbone's; of the others the vectors of :meth:`item_embeddings`, or zeros where products only rank."""
        own = self.base.towers() if self.with_vectors else None
        if own is None:
            return None
        rest = self._rest(own.items) if self.by_products else own.items.new_zeros(self.count, own.items.shape[1])
        bias = None if own.bias is None else torch.cat([own.bias, own.bias.mean().expand(self.count)])
        return Towers(self.user_embeddings, torch.cat([own.items, rest]), bias, own.exact)

    def with_repeats(self) -> Scorer:
        """The same scores, without vectors where the backbone's would rank the history's items otherwise."""
        if self.base.with_repeats() is self.base:
            return self
        other = padded(self.base, AddedItems(self.count, self.job, items=self.added))
        other.with_vectors = False
        return other

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """See :class:`Scorer`."""
        if self.by_products:
            return super().score(queries, items)
        return self._filled(self.base.score(queries.below(self.base.num_items)), items)

    def score_unseen(self, queries: Queries, items: IntArray | None = None) -> FloatArray | None:
        """The backbone's, if it says something."""
        own = self.base.score_unseen(queries.below(self.base.num_items))
        return None if own is None else self._filled(own, items)

    def _filled(self, own: FloatArray, items: IntArray | None) -> FloatArray:
        value = self.base.without_events
        rest = own.mean(1, keepdims=True) if value is None else np.full((len(own), 1), value)
        scores = np.concatenate([own, np.repeat(rest, self.count, axis=1)], axis=1).astype(np.float32)
        return scores if items is None else np.take_along_axis(scores, np.asarray(items, np.int64), axis=1)


def padded(base: Backbone, added: AddedItems) -> Padded:
    """The backbone over its items and ``added``: an object of a class that says of itself what the backbone's says."""
    own = type(base)
    words = {"base_class": own, "needs_text": own.needs_text, "dot_product": own.dot_product, "sampling": own.sampling}
    made: Padded = type(f"Padded{own.__name__}", (Padded,), words)(base, added)
    return made.eval()
