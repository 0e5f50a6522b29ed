"""Items and users that are alike in a finished run, by the cosine of their vectors.

Vectors are those of the last stage that has any: an alignment's (items without events through their texts), else the
backbone's. A run without vectors (popularity, neighbourhoods, EASE) compares who had what: the cosine of the columns,
or rows, of the user-item matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interlingua.contracts.batch import FloatArray
from interlingua.data.queries import IntArray
from interlingua.progress import track
from interlingua.runs.session import known_items
from interlingua.vectors.tables import load_tables

if TYPE_CHECKING:
    from interlingua.runs.session import Session

SHAPES = "shapes"
"""entry of a stage's card: the shapes of its vectors; a stage without it has none"""
BLOCK = 2048
"""users represented at once"""


def item_vectors(session: Session) -> Tensor | None:
    """(I, D), or None where the run has no item vectors."""
    if "align" in session.done:
        return known_items(session).detach().float()
    if "train" not in session.done:  # a fusion has no vectors of its own
        return None
    made = session.done["train"]
    return load_tables(made.path).items.float() if SHAPES in made.card else None


def user_vectors(session: Session) -> Tensor | None:
    """(U, D) from all events on record, or None where the run has no user vectors."""
    if "fuse" in session.done:
        return None
    made = session.done["train"] if "train" in session.done else session.done["align"]
    if SHAPES not in made.card:
        return None
    queries = session.data.on_record.queries()
    with torch.no_grad():
        parts = [
            session.backbone.user_embeddings(queries.slice(at, at + BLOCK)).float().cpu()
            for at in track(range(0, len(queries), BLOCK), "user vectors")
        ]
    return torch.cat(parts)


def similar(session: Session, side: str, row: int) -> FloatArray:
    """(n,) cosine of every item (``items``) or user (``users``) with the one in ``row``; zero vectors have 0."""
    vectors = item_vectors(session) if side == "items" else user_vectors(session)
    if vectors is not None:
        return cosines(vectors, row)
    matrix = session.data.on_record.matrix()
    table = matrix.T.tocsr() if side == "items" else matrix
    lengths = np.sqrt(np.asarray(table.sum(axis=1)).ravel())  # entries are 1, so the sum is the squared length
    common = (table @ table[row].T).toarray().ravel()
    return np.asarray(common / np.maximum(lengths * lengths[row], 1e-12), np.float32)


def cosines(vectors: Tensor, row: int) -> FloatArray:
    """(n,) cosine of each of the vectors (n, D) with the one in ``row``."""
    lengths = vectors.norm(dim=1).clamp(min=1e-12)
    found: FloatArray = ((vectors @ vectors[row]) / (lengths * lengths[row])).numpy()
    return found


def nearest(values: FloatArray, row: int, k: int) -> npt.NDArray[np.int64]:
    """Up to ``k`` positions of the largest values above 0, without ``row`` itself; of equals the lower comes first."""
    order: IntArray = np.argsort(-values, kind="stable")
    return order[(order != row) & (values[order] > 0)][:k].astype(np.int64)
