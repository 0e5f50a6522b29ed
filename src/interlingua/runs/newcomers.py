"""Newcomers: questions without a learned user and without an item in the history that the run knows anything about.

They are answered by popularity: by the recipe's own where it has one (:attr:`Scorer.welcomes_newcomers`), else by the
training events of an item, because the model would give every item the same score, and the first items of the catalogue
would come out. Where there are no events at all (vectors of
another system without interactions), a newcomer stands for somebody who has had the whole catalogue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from interlingua.contracts.scorer import BoolArray, Scorer, TableScorer
from interlingua.data.queries import IntArray, Queries
from interlingua.retrieval.cascade import Candidates
from interlingua.retrieval.quota import Quota, best_with
from interlingua.runs.scorers import retrieves_aligned
from interlingua.vectors.fields import has_text

if TYPE_CHECKING:
    from interlingua.runs.session import Session

STAGE = "popularity"
"""name of the deciding stage in an answer"""


class Newcomers:
    """Tells which questions are new to a run, and answers them."""

    def __init__(self, session: Session) -> None:
        self.train = session.data.split.train
        self.users, self.items = learned_users(session), telling_items(session)

    def among(self, queries: Queries) -> BoolArray:
        """(B,) True for questions that tell the run nothing."""
        owner = np.repeat(np.arange(len(queries)), queries.lengths())
        informed = np.bincount(owner[self.items[queries.items]], minlength=len(queries)) > 0
        users = np.asarray(queries.users, np.int64)
        known = np.zeros(len(queries), np.bool_)
        known[users >= 0] = self.users[users[users >= 0]]
        return ~informed & ~known

    def answered(
        self, scorer: Scorer, queries: Queries, k: int, *, allowed: BoolArray | None, repeat: bool, seen: Queries,
        quota: Quota | None = None,
    ) -> Candidates:  # fmt: skip
        """The most popular items; ``scorer`` says which if it can, or if nobody has had anything (see the module)."""
        table = self.scorer(scorer)
        found = best_with(table, queries, k, quota, allowed=allowed, repeat=repeat, seen=seen)
        return Candidates(found.indices.astype(np.int64), found.scores, found.scores)

    def scorer(self, scorer: Scorer) -> TableScorer:
        """What ranks for newcomers; see :meth:`answered`."""
        counts, nothing = self.train.item_counts, list[int]()
        if scorer.welcomes_newcomers:
            scores = torch.as_tensor(np.array(scorer.score(Queries.of([nothing]))[0], np.float32))
        elif counts.any():
            scores = torch.as_tensor(counts, dtype=torch.float32)
        else:
            everything = Queries.of([list(map(int, np.flatnonzero(self.items)))])
            scores = torch.as_tensor(np.array(scorer.score(everything)[0], np.float32))
        return TableScorer(scores[:, None], lambda some: torch.ones(len(some), 1))

    def note(self, count: int, total: int) -> str:
        """The note for whoever asked."""
        by = "popularity" if self.train.item_counts.any() else "likeness to the whole catalogue: there are no events"
        who = "no history" if total == 1 else f"{count:,} of {total:,} without a history"
        return f"{who} that tells the run anything; ranked by {by}"


def of_both(new: BoolArray, answered: Callable[[IntArray, bool], Candidates]) -> Candidates:
    """Lists of (B,) questions, those of newcomers by themselves; ``answered``: (places, known?) -> their lists."""
    groups = [(np.flatnonzero(new == is_new), not is_new) for is_new in (False, True)]
    parts = [(indices, answered(indices, known)) for indices, known in groups if len(indices)]
    if len(parts) < 2:
        return parts[0][1] if parts else answered(np.zeros(0, np.int64), True)
    order = np.argsort(np.concatenate([indices for indices, _ in parts]))
    joined = [
        np.concatenate([vars(found)[name] for _, found in parts])[order] for name in ("items", "scores", "retrieved")
    ]
    return Candidates(*joined)


def learned_users(session: Session) -> BoolArray:
    """(U,) True for users of whom a model (with ``[fuse]``: any member) knows more than their history."""
    if session.recipe.fuse is not None:
        return np.logical_or.reduce([learned_users(member) for member in session.members])
    return session.backbone.learned_users(session.data.split.train).numpy()


def telling_items(session: Session) -> BoolArray:
    """(I,) items that say something when they stand in a history: learned ones, or those whose texts are read."""
    if session.recipe.fuse is not None:
        return np.logical_or.reduce([telling_items(member) for member in session.members])
    backbone, train = session.backbone, session.data.split.train
    makes = backbone.makes(backbone.config)
    inputs = backbone.input_embeddings().items if "inputs" in makes else None
    if backbone.needs_text and inputs is not None and "rank" not in session.done:  # histories are read by these alone
        return np.asarray(inputs.detach().cpu().numpy().any(axis=1), np.bool_)
    if backbone.needs_text or "rank" in session.done:
        return np.ones(train.num_items, np.bool_)
    known = np.array(backbone.learned_items(train).numpy(), np.bool_)
    known[train.num_items - session.num_added :] = session.places
    if retrieves_aligned(session) and backbone.users_over(backbone.item_embeddings()) is not None:
        return known | items_with_texts(session)
    return known


def items_with_texts(session: Session) -> BoolArray:
    """(I,) items whose text vector says something: it is not zero, and was made of more than the item's id."""
    part = session.recipe.text
    if part is None or "embed" not in session.done:
        return np.ones(session.data.split.train.num_items, np.bool_)
    said = np.asarray(session.exported("embed")["items"].numpy().any(axis=1), np.bool_)
    if not part.config.reads_fields:
        return said
    return said & np.array(has_text(session.data.catalogue, part.config), np.bool_)
