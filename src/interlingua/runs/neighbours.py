"""Items and users that are alike in a finished run, by the cosine of their vectors.

Vectors of users are those by which the run retrieves (:meth:`interlingua.contracts.scorer.Scorer.towers`), else the
rows of the user-item matrix. Items are compared in one space for each answer, which the answer names: the first of
:data:`SPACES` that the run has and that knows the item. So the items of an answer have scores of one scale, new items
are among them, and two items that are compared in one space are equally alike from either side.

Where a run without vectors and texts is given away without its users, each item's nearest by events are written beside
it. The best are found block by block (:mod:`interlingua.retrieval.alike`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from safetensors.torch import load_file
from torch import Tensor

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.scorer import BoolArray, TopK
from interlingua.data.anonymous import has_users
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError, at_least_one, unknown
from interlingua.progress import track
from interlingua.retrieval.alike import BLOCK, alike, alike_of_values, user_blocks
from interlingua.runs.scorers import retriever_of
from interlingua.runs.session import known_items
from interlingua.vectors.tables import save_tensors

if TYPE_CHECKING:
    from interlingua.runs.session import Session

VECTORS, TEXTS, EVENTS = "vectors", "texts", "events"
SPACES = {VECTORS: "item vectors of the model", TEXTS: "text vectors", EVENTS: "who had the items"}
"""in what items are compared -> in words. Vectors are those of an alignment, where there is one (items without events
through their texts), else those by which the run retrieves; events are columns of the user-item matrix"""
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


class Near(NamedTuple):
    """Items like one."""

    space: str
    """in what they are compared, in words (:data:`SPACES`)"""
    found: TopK
    """(1, up to k) rows and cosines"""


def similar_items(
    session: Session, row: int, k: int, allowed: BoolArray | None = None, space: str | None = None
) -> Near:
    """The ``k`` items most like the one in ``row``.

    Args:
        session: the run.
        row: of the item.
        k: how many at most.
        allowed: (I,) those that may come out; None: all.
        space: one of :data:`SPACES`; None: the first of them that the run has and that knows the item.

    Raises:
        ConfigError: a space that there is not, or that the run does not have.
    """
    at_least_one("k", k)
    if space is not None and space not in SPACES:
        raise ConfigError(unknown("space", space, SPACES))
    tables = {VECTORS: lambda: item_vectors(session), TEXTS: lambda: text_vectors(session)}
    found: Near | None = None
    for name in SPACES if space is None else [space]:
        table = tables[name]() if name in tables else None
        if name == EVENTS and _has_events(session):
            values = _by_events(session, "items", row)
            known, made = bool(values.any()), alike_of_values(values, k, row=row, allowed=allowed)
        elif table is not None and table.shape[1]:
            known = bool(table[row].any())
            made = alike(table.split(BLOCK), table[row], k, row=row, allowed=allowed)
        else:
            continue
        found = found if found is not None and not known else Near(SPACES[name], made)
        if known:
            return found
    if found is None:
        named = "any space" if space is None else f"{SPACES[space]} (space {space!r})"
        raise ConfigError(f"items of this run cannot be compared by {named}: it has none")
    return found


def similar_users(session: Session, row: int, k: int) -> TopK:
    """The ``k`` users most like the one in ``row``: (1, up to k) rows and cosines."""
    at_least_one("k", k)
    users = user_vectors(session)
    if users is None:
        return alike_of_values(_by_events(session, "users", row), k, row=row)
    queries = session.data.on_record.queries()
    (own,) = user_blocks(users, queries.slice(row, row + 1))
    return alike(user_blocks(users, queries), own[0], k, row=row)


def _has_events(session: Session) -> bool:
    """Whether it can be told who had the items, or which were had together."""
    return has_users(session.data) or (session.path / NEAREST_FILE).is_file()


def _by_events(session: Session, side: str, row: int) -> FloatArray:
    """(n,) cosine of every column (items) or row (users) of the matrix of events with the one in ``row``."""
    if not has_users(session.data):
        return _stored_row(session.path / NEAREST_FILE, row, session.data.split.train.num_items)
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
