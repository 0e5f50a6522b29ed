"""Scorers: they score items for queries. Evaluation, retrieval and serving see nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interlingua.contracts.batch import FloatArray
from interlingua.data.queries import IntArray, Queries

BoolArray = npt.NDArray[np.bool_]
GATHERED = 1 << 22
"""numbers of candidates' vectors that are gathered at once"""


@dataclass(frozen=True)
class Towers:
    """The vectors by whose dot products a scorer ranks."""

    users: Callable[[Queries], Tensor]
    """(B, D) of any queries"""
    items: Tensor
    """(I, D)"""
    bias: Tensor | None = None
    """(I,) added to every product, or None"""
    exact: bool = True
    """True: the products are the scores; False: they only rank items in the same order"""

    def folded(self) -> Towers:
        """Items as float32 on the CPU, a bias as their last column, which meets a 1 in the users."""
        items = self.items.detach().float().cpu()
        if self.bias is None:
            return replace(self, items=items)
        table = torch.cat([items, self.bias.detach().float().cpu()[:, None]], dim=1)
        return replace(self, users=self.folded_users, items=table, bias=None)

    def folded_users(self, queries: Queries) -> Tensor:
        """(B, D) users of :meth:`folded`."""
        made = self.users(queries)
        return made if self.bias is None else torch.cat([made, made.new_ones(len(made), 1)], dim=1)


@dataclass(frozen=True)
class TopK:
    """The best items of B queries, best first; of equal scores the lower row comes first."""

    indices: npt.NDArray[np.int64]
    """(B, k) item indices; -1 where a query has fewer items that may come out"""
    scores: FloatArray
    """(B, k) their scores; minus infinity beside -1"""


def products(users: Tensor, table: Tensor, items: IntArray | None, bias: Tensor | None = None) -> FloatArray:
    """Dot products of users with all items, or with candidates, some rows at a time.

    Args:
        users: (B, D)
        table: (I, D) items, on the users' device.
        items: (B, C) candidate indices of each user, or None for all items.
        bias: (I,) added to every product, or None.

    Returns:
        (B, I) or (B, C) float32.
    """
    if items is None:
        scores = users @ table.T
        return (scores if bias is None else scores + bias).float().cpu().numpy()
    candidates = torch.as_tensor(np.asarray(items, np.int64), device=table.device)
    size = max(1, GATHERED // max(1, candidates.shape[1] * table.shape[1]))
    parts = zip(users.split(size), candidates.split(size), strict=True)
    scores = torch.cat([torch.einsum("bd,bcd->bc", part, table[indices]) for part, indices in parts])
    return (scores if bias is None else scores + bias[candidates]).float().cpu().numpy()


@runtime_checkable
class Scorer(Protocol):
    """Anything that scores items for queries: a table, an NCF, a language model.

    Derive from it and write :meth:`score`: everything else has a default, and no caller tests its class.
    """

    num_items: int
    ranks_catalogue: bool = True
    """False: it must be given candidates, which another scorer retrieves"""
    welcomes_newcomers: bool = False
    """True: what it says for an empty history is meant (some popularity); else newcomers get what most users had"""

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Scores, higher is better.

        Args:
            queries: B users with histories.
            items: (B, C) candidate indices of each query, or None for the whole catalogue.

        Returns:
            (B, C) or (B, I) float32. Seen items are *not* masked here; the caller does that.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method score(queries, items=None)")

    def towers(self) -> Towers | None:
        """The vectors whose dot products are the scores, or None if scores are something else."""
        return None

    def score_unseen(self, queries: Queries, items: IntArray | None = None) -> FloatArray | None:
        """Like :meth:`score`, as if no item had an event; None if the scorer knows nothing else about items."""
        return None

    def best(
        self, queries: Queries, k: int, *, allowed: BoolArray | None = None, repeat: bool = False,
        seen: Queries | None = None,
    ) -> TopK | None:  # fmt: skip
        """The k best items, for a scorer that searches by itself (an index); None: the caller must search.

        Arguments and result are those of :func:`interlingua.retrieval.best.best`, which callers should use.
        """
        return None

    def with_repeats(self) -> Scorer:
        """The scorer for lists in which items of the history may come out again: its retriever does not hide them."""
        return self


class TableScorer(Scorer):
    """A scorer from plain vectors, e.g. your own embeddings or an exported run."""

    def __init__(
        self,
        items: Tensor,
        user_embeddings: Callable[[Queries], Tensor],
        bias: Tensor | None = None,
        unseen: TableScorer | None = None,
    ) -> None:
        self.items, self.user_embeddings, self.num_items = items, user_embeddings, int(items.shape[0])
        self.unseen = unseen
        self.bias = items.new_zeros(()) if bias is None else bias

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Dot products, plus the (I,) bias if there is one (see :class:`Scorer`)."""
        return products(self.user_embeddings(queries), self.items, items, self.bias.expand(self.num_items))

    def towers(self) -> Towers:
        """The vectors from which it was made."""
        return Towers(self.user_embeddings, self.items, self.bias if self.bias.dim() else None)

    def score_unseen(self, queries: Queries, items: IntArray | None = None) -> FloatArray | None:
        """Dot products with the item vectors from texts alone, if there are any."""
        return None if self.unseen is None else self.unseen.score(queries, items)
