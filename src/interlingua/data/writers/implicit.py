"""implicit, LightFM and others: a sparse matrix (U, I) for each part, and the ids of its rows and columns.

``train.npz``, ``valid.npz``, ``test.npz`` (``scipy.sparse.load_npz``, CSR, float32; entries: how many events the pair
has), ``user_ids.json`` and ``item_ids.json``, lists.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from interlingua.data.interactions import Interactions
from interlingua.data.prepared import Dataset
from interlingua.data.splitting import PARTS
from interlingua.data.writers.parts import NAMES


def counts(events: Interactions, chosen: np.ndarray | None = None) -> sp.csr_matrix:
    """The matrix of events (U, I): an entry is how many the pair has; ``chosen`` (N,): which events."""
    users, items = (events.users, events.items) if chosen is None else (events.users[chosen], events.items[chosen])
    shape = (len(events.user_ids), len(events.item_ids))
    return sp.coo_matrix((np.ones(len(users), np.float32), (users, items)), shape).tocsr()  # doubles are summed


def write(data: Dataset, folder: Path) -> None:
    """Writes the matrices and the ids."""
    for name in NAMES:
        sp.save_npz(folder / f"{name}.npz", counts(data.interactions, data.parts == PARTS.index(name)))
    for name in ("user_ids", "item_ids"):
        ids = [str(each) for each in getattr(data.interactions, name).tolist()]
        (folder / f"{name}.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
