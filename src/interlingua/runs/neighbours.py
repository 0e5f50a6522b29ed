"""Items and users that are alike in a finished run, by the cosine of their vectors.

Vectors are those of the last stage that has any: an alignment's (items without events through their texts), else the
backbone's. A run without vectors (popularity, neighbourhoods, EASE) compares who had what: the cosine of the columns,
or rows, of the user-item matrix. Where such a run is given away without its users, each item's nearest are written
beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from safetensors.torch import load_file
from torch import Tensor

from interlingua.contracts.batch import FloatArray
from interlingua.data.anonymous import has_users
from interlingua.data.queries import IntArray
from interlingua.progress import track
from interlingua.runs.session import known_items
from interlingua.vectors.tables import load_tables, save_tensors

if TYPE_CHECKING:
    from interlingua.runs.session import Session

SHAPES = "shapes"
"""entry of a stage's card: the shapes of its vectors; a stage without it has none"""
BLOCK = 2048
"""users represented at once"""
ITEMS = 256
"""items compared with all others at once"""
NEAREST_FILE = "nearest_items.safetensors"
"""what stands for the user-item matrix beside a run without users"""
NEAREST = 100
"""items kept there for each item"""


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
    if not has_users(session.data):
        return _stored_row(session.path / NEAREST_FILE, row, session.data.split.train.num_items)
    matrix = session.data.on_record.matrix()
    table = matrix.T.tocsr() if side == "items" else matrix
    return _cosine_rows(table, slice(row, row + 1)).toarray().ravel()


def _cosine_rows(table: sp.csr_matrix, rows: slice) -> sp.csr_matrix:
    """(B, n) float32 cosines of some rows of a matrix (n, m) of zeros and ones with all of them."""
    lengths = np.sqrt(np.asarray(table.sum(axis=1)).ravel())  # entries are 1, so the sum is the squared length
    common = sp.csr_matrix(table[rows] @ table.T)
    owners = np.repeat(lengths[rows], np.diff(common.indptr))
    common.data = np.asarray(common.data / np.maximum(owners * lengths[common.indices], 1e-12), np.float32)
    return common


def write_nearest(session: Session, folder: Path) -> None:
    """Writes the nearest items of each item, where a run finds them in the user-item matrix and has no vectors."""
    if item_vectors(session) is not None:
        return
    num_items = session.data.split.train.num_items
    if not has_users(session.data):
        kept = load_file(session.path / NEAREST_FILE)
        save_tensors(kept, folder / NEAREST_FILE)
        return
    table = session.data.on_record.matrix().T.tocsr()
    items = np.full((num_items, NEAREST), -1, np.int32)
    values = np.zeros((num_items, NEAREST), np.float32)
    for at in track(range(0, num_items, ITEMS), "nearest items"):
        block = _cosine_rows(table, slice(at, at + ITEMS))
        for place in range(block.shape[0]):
            here = slice(block.indptr[place], block.indptr[place + 1])
            others, cosine = block.indices[here], block.data[here]
            order = np.lexsort((others, -cosine))  # of equals the lower row, as :func:`nearest` has it
            best = order[(others[order] != at + place) & (cosine[order] > 0)][:NEAREST]
            items[at + place, : len(best)], values[at + place, : len(best)] = others[best], cosine[best]
    save_tensors({"items": torch.from_numpy(items), "values": torch.from_numpy(values)}, folder / NEAREST_FILE)


def _stored_row(path: Path, row: int, num_items: int) -> FloatArray:
    """(I,) cosines of an item's nearest, 0 of all others, as :func:`write_nearest` left them."""
    kept = load_file(path)
    items, values = kept["items"][row].numpy(), kept["values"][row].numpy()
    out = np.zeros(num_items, np.float32)
    out[items[items >= 0]] = values[items >= 0]
    return out


def cosines(vectors: Tensor, row: int) -> FloatArray:
    """(n,) cosine of each of the vectors (n, D) with the one in ``row``."""
    lengths = vectors.norm(dim=1).clamp(min=1e-12)
    found: FloatArray = ((vectors @ vectors[row]) / (lengths * lengths[row])).numpy()
    return found


def nearest(values: FloatArray, row: int, k: int) -> npt.NDArray[np.int64]:
    """Up to ``k`` positions of the largest values above 0, without ``row`` itself; of equals the lower comes first."""
    order: IntArray = np.argsort(-values, kind="stable")
    return order[(order != row) & (values[order] > 0)][:k].astype(np.int64)
