"""Items and users that are alike in a finished run, by the cosine of their vectors.

Vectors of users are those by which the run retrieves (:meth:`interlingua.contracts.scorer.Scorer.towers`); of
items those of an alignment, where there is one (items without events through their texts), else those by which it
retrieves. A run without vectors (popularity, neighbourhoods, EASE) compares who had what: the cosine of the columns,
or rows, of the user-item matrix; an item that nobody had is compared by the run's texts. Where such a run is given away
without its users, each item's nearest are written beside it. The best are found block by block
(:mod:`interlingua.retrieval.alike`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch
from safetensors.torch import load_file
from torch import Tensor

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.scorer import BoolArray, TopK
from interlingua.data.anonymous import has_users
from interlingua.data.queries import Queries
from interlingua.errors import at_least_one
from interlingua.progress import track
from interlingua.retrieval.alike import BLOCK, alike, alike_of_values, user_blocks
from interlingua.runs.scorers import retriever_of
from interlingua.runs.session import known_items
from interlingua.vectors.tables import save_tensors

if TYPE_CHECKING:
    from interlingua.runs.session import Session

ITEMS = 256
"""items compared with all others at once"""
NEAREST_FILE = "nearest_items.safetensors"
"""file that replaces the user-item matrix in a run without users"""
NEAREST = 100
"""number of nearest items stored for each item"""


def item_vectors(session: Session) -> Tensor | None:
    """(I, D), or None where the run has no item vectors."""
    if "align" in session.done:
        return known_items(session).detach().float()
    towers = retriever_of(session)[1].towers()
    if towers is not None:
        return towers.items.detach().float()
    return session.exported("train").get("items") if "train" in session.done else None  # of a score that is no product


def text_vectors(session: Session) -> Tensor | None:
    """(I, T) the frozen text vectors of the run, or of its first member that has some."""
    for part in (session, *session.members):
        if "embed" in part.done:
            return part.exported("embed")["items"]
    return None


def user_vectors(session: Session) -> Callable[[Queries], Tensor] | None:
    """(B, D) of any queries, or None where the run has no user vectors."""
    towers = retriever_of(session)[1].towers()
    if towers is not None:
        return towers.users
    backbone = None if session.recipe.fuse is not None else session.backbone
    has = backbone is not None and "users" in backbone.makes(backbone.config)
    return backbone.user_embeddings if backbone is not None and has else None


def similar(session: Session, side: str, row: int, k: int, allowed: BoolArray | None = None) -> TopK:
    """The ``k`` items (``items``) or users (``users``) most like the one in ``row``: (1, up to k) rows and cosines.

    ``allowed``: (n,) those that may come out; None: all.
    """
    at_least_one("k", k)
    if side == "items":
        table = item_vectors(session)
        if table is None and not session.data.interactions.item_counts[row]:
            table = text_vectors(session)  # nobody had it: its text says what it is like
        if table is not None:
            return alike(table.split(BLOCK), table[row], k, row=row, allowed=allowed)
    else:
        users = user_vectors(session)
        if users is not None:
            queries = session.data.on_record.queries()
            (own,) = user_blocks(users, queries.slice(row, row + 1))
            return alike(user_blocks(users, queries), own[0], k, row=row, allowed=allowed)
    if not has_users(session.data):
        return alike_of_values(
            _stored_row(session.path / NEAREST_FILE, row, session.data.split.train.num_items),
            k,
            row=row,
            allowed=allowed,
        )
    return alike_of_values(_by_events(session, side, row), k, row=row, allowed=allowed)


def _by_events(session: Session, side: str, row: int) -> FloatArray:
    """(n,) cosine of every column (items) or row (users) of the matrix of events with the one in ``row``."""
    matrix = session.data.on_record.matrix()
    table = matrix.T.tocsr() if side == "items" else matrix
    return _cosine_rows(table, slice(row, row + 1)).toarray().ravel()


def _cosine_rows(table: sp.csr_matrix, chosen: slice) -> sp.csr_matrix:
    """(B, n) float32 cosines of some rows of a matrix (n, m) of zeros and ones with all of them."""
    lengths = np.sqrt(np.asarray(table.sum(axis=1)).ravel())  # entries are 1, so the sum is the squared length
    common = sp.csr_matrix(table[chosen] @ table.T)
    owners = np.repeat(lengths[chosen], np.diff(common.indptr))
    common.data = np.asarray(common.data / np.maximum(owners * lengths[common.indices], 1e-12), np.float32)
    return common


def write_nearest(session: Session, folder: Path) -> None:
    """Writes the nearest items of each item, for a run that has no vectors and finds them in the user-item matrix."""
    if item_vectors(session) is not None:
        return
    num_items = session.data.split.train.num_items
    if not has_users(session.data):
        stored = load_file(session.path / NEAREST_FILE)
        save_tensors(stored, folder / NEAREST_FILE)
        return
    table = session.data.on_record.matrix().T.tocsr()
    items = np.full((num_items, NEAREST), -1, np.int32)
    values = np.zeros((num_items, NEAREST), np.float32)
    for at in track(range(0, num_items, ITEMS), "nearest items"):
        block = _cosine_rows(table, slice(at, at + ITEMS))
        for place in range(block.shape[0]):
            here = slice(block.indptr[place], block.indptr[place + 1])
            neighbours, cosine = block.indices[here], block.data[here]
            order = np.lexsort((neighbours, -cosine))  # of equals the lower row, as :func:`alike_of_values` has it
            best = order[(neighbours[order] != at + place) & (cosine[order] > 0)][:NEAREST]
            items[at + place, : len(best)], values[at + place, : len(best)] = neighbours[best], cosine[best]
    save_tensors({"items": torch.from_numpy(items), "values": torch.from_numpy(values)}, folder / NEAREST_FILE)


def _stored_row(path: Path, row: int, num_items: int) -> FloatArray:
    """(I,) cosines of an item's nearest items, 0 for all others, as :func:`write_nearest` stored them."""
    stored = load_file(path)
    items, values = stored["items"][row].numpy(), stored["values"][row].numpy()
    out = np.zeros(num_items, np.float32)
    out[items[items >= 0]] = values[items >= 0]
    return out
