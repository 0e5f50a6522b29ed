"""What a worker reads and writes (numpy only: it runs in every environment).

The data file (npz) holds ``users, items`` (training events sorted by user and time), ``valid`` and ``test`` (one target
of each user) and ``num_items``. A worker answers with a JSON of figures.
"""

from __future__ import annotations

import time

import numpy as np


class Clock:
    """Wall and CPU seconds of a block. CPU time says more where other programs share the machine."""

    wall_s = cpu_s = 0.0

    def __enter__(self) -> Clock:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s, self.cpu_s = time.perf_counter() - self._wall, time.process_time() - self._cpu


class Data:
    """A leave-one-out split as plain arrays; every user has a validation and a test target."""

    def __init__(self, path: str) -> None:
        with np.load(path, allow_pickle=False) as stored:
            self.users, self.items = stored["users"].astype(np.int64), stored["items"].astype(np.int64)
            self.valid, self.test = stored["valid"].astype(np.int64), stored["test"].astype(np.int64)
            self.num_items = int(stored["num_items"])
        self.num_users = len(self.test)

    def events(self, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Users, items and places in time of the history that may be read for ``valid`` or ``test``."""
        users, items = self.users, self.items
        if part == "test":
            users = np.concatenate([users, np.arange(self.num_users)])
            items = np.concatenate([items, self.valid])
        order = np.argsort(users, kind="stable")
        users, items = users[order], items[order]
        starts = np.searchsorted(users, np.arange(self.num_users))
        return users, items, np.arange(len(users)) - starts[users]

    def target(self, part: str) -> np.ndarray:
        """(U,) the held-out item of each user."""
        return self.valid if part == "valid" else self.test


def quality(top: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Recall@10 and NDCG@10 of one target per user from (U, 10) recommended rows, best first."""
    hit = top[:, :10] == target[:, None]
    rank = hit.argmax(1)
    gain = np.where(hit.any(1), 1.0 / np.log2(rank + 2), 0.0)
    return {"recall@10": round(float(hit.any(1).mean()), 5), "ndcg@10": round(float(gain.mean()), 5)}


def top_of(scores: np.ndarray, users: np.ndarray, items: np.ndarray, k: int = 10) -> np.ndarray:
    """(B, k) best columns of (B, I) scores without the given (row, item) pairs."""
    scores = scores.copy()
    scores[users, items] = -np.inf
    best = np.argpartition(-scores, k, axis=1)[:, :k]
    return np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable"), 1)
