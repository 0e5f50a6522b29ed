"""A map of the items of a run: its vector space laid flat, a sample of the items on it, and where a new one lands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg
import torch
from torch import Tensor

from interlingua.data.anonymous import has_users
from interlingua.data.queries import IntArray
from interlingua.nn.plane import Plane, plane_of
from interlingua.runs.neighbours import EVENTS, SPACES, TEXTS, VECTORS, item_vectors, text_vectors

if TYPE_CHECKING:
    from interlingua.runs.session import Session

MEASURED, SHOWN = 5_000, 1_500
"""items that the plane is made from, and items that are drawn, at most"""
FEW_DIMENSIONS = 32
"""of vectors made from events, where a run has none"""


@dataclass(frozen=True)
class ItemMap:
    """The plane, and the items on it."""

    space: str
    """whose vectors these are, in words"""
    plane: Plane
    items: IntArray
    """(n,) indices of the items that are drawn, in the catalogue's order"""
    points: Tensor
    """(n, 2)"""
    of_events: Tensor | None = None
    """(I, D) vectors made from events, kept for a run that has none of its own: making them takes long"""

    def at(self, session: Session, indices: IntArray) -> Tensor | None:
        """(m, 2) where items of a run stand, also those that it grew by; None: this run has no vectors of them."""
        found = _own(session)
        if found is None and self.of_events is not None:
            found = self.space, self.of_events
        if found is None or found[0] != self.space or found[1].shape[1] != len(self.plane.mean):
            return None
        table = found[1]
        if len(indices) and int(np.max(indices)) >= len(table):
            return None
        return self.plane.at(table[torch.from_numpy(np.asarray(indices, np.int64))])


def _own(session: Session) -> tuple[str, Tensor] | None:
    """(whose, (I, D)) the vectors by which items are alike that a run has: the model's, else its texts'."""
    for where, own in ((SPACES[VECTORS], item_vectors(session)), (SPACES[TEXTS], text_vectors(session))):
        if own is not None and own.shape[1]:
            return where, own.detach().float()
    return None


def _of_events(session: Session) -> tuple[str, Tensor] | None:
    """Left singular vectors of the item-user matrix whose columns, the users, have length 1."""
    if not has_users(session.data):
        return None
    matrix = sp.csr_matrix(session.data.split.train.matrix(), dtype=np.float32)
    count = min(FEW_DIMENSIONS, min(matrix.shape) - 1)
    if count < 1 or not matrix.nnz:
        return None
    lengths = np.sqrt(np.asarray(matrix.sum(axis=1)).ravel())
    scaled = sp.diags(1 / np.maximum(lengths, 1)) @ matrix
    start = np.ones(min(scaled.shape), np.float32)  # the solver's own start is random
    left, strengths, _ = scipy.sparse.linalg.svds(sp.csr_matrix(scaled.T), k=count, v0=start)
    return SPACES[EVENTS], torch.from_numpy(np.ascontiguousarray(left * strengths)).float()


def map_of(session: Session, seed: int = 0) -> ItemMap | None:
    """The map of a run as it was trained; None: it has no vectors and no events.

    At most :data:`SHOWN` items are drawn: half of them the popular ones, the rest at random.
    """
    own = _own(session)
    found = own or _of_events(session)
    if found is None:
        return None
    space, table = found
    random = np.random.default_rng(seed)
    count = len(table)
    measured = np.sort(random.permutation(count)[:MEASURED])
    plane = plane_of(table[torch.from_numpy(measured)])
    popular = np.argsort(-np.asarray(session.data.split.train.item_counts), kind="stable")
    first = popular[: SHOWN // 2]
    rest = random.permutation(popular[SHOWN // 2 :])[: SHOWN - len(first)]
    drawn = np.sort(np.concatenate([first, rest])).astype(np.int64)
    points = plane.at(table[torch.from_numpy(drawn)])
    return ItemMap(space, plane, drawn, points, of_events=table if own is None else None)
