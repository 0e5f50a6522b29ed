"""A small part of the training data: uninformative samples are dropped, the rest is drawn evenly over buckets.

RA-Rec (arXiv 2402.04527v2): samples (history, answer) whose answer shares no word with the history's titles are noise
and are dropped; users are bucketed by the length of their sequence, items by their popularity, and samples are drawn
uniformly over the buckets. The paper keeps about 6 % of its data and does better than with all of it.

**Deviations:** bucket borders and numbers are not published: buckets here have equal width in the logarithm, and a draw
is even over the cells of the table user bucket x item bucket (a cell with too few gives all it has). Denoising by the
likeness of text vectors is an option of ours.

Shape key: N samples (every training event but a user's first), V words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp

from interlingua.contracts.batch import FloatArray
from interlingua.data.interactions import Interactions
from interlingua.errors import ConfigError
from interlingua.progress import track

Filter = Literal["none", "words", "similarity"]
Mask = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]
_STOP_TEXT = "a an and are as at be by for from in is it its no not of on or that the this to with vol part pack set"
STOP = frozenset(_STOP_TEXT.split())
"""words that two titles share without having anything in common"""
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True)
class Sample:
    """Chosen training samples, and how they came about."""

    stops: Int64
    """(n,) event numbers of the answers; the events before of the same user are the history"""
    user_buckets: Int64
    """(n,) by length of the user's sequence, 0 the shortest"""
    item_buckets: Int64
    """(n,) by training events of the answer, 0 the fewest"""
    counts: dict[str, Any]
    """counts before and after each step"""

    def frame(self, train: Interactions) -> pl.DataFrame:
        """One row per sample: user and item by their external ids, length of the history, buckets."""
        users = train.users[self.stops]
        columns = {
            "user_id": [str(user) for user in train.user_ids[users]],
            "item_id": [str(item) for item in train.item_ids[train.items[self.stops]]],
            "history_length": self.stops - train.offsets[users],
            "user_bucket": self.user_buckets,
            "item_bucket": self.item_buckets,
        }
        return pl.DataFrame(columns)


def words_of(title: str) -> frozenset[str]:
    """Lower-case words of a title without numbers and without :data:`STOP`."""
    return frozenset(_WORD.findall(title.lower())) - STOP


def answers(train: Interactions) -> Int64:
    """(N,) numbers of all events that have a history: every event but a user's first."""
    first = np.zeros(len(train), bool)
    first[train.offsets[:-1][train.user_counts > 0]] = True
    return np.flatnonzero(~first)


def shares_a_word(train: Interactions, stops: Int64, titles: Sequence[str], length: int) -> Mask:
    """(N,) True where the answer's title has a word of one of the last ``length`` titles of the history."""
    vocabulary: dict[str, int] = {}
    words = [[vocabulary.setdefault(word, len(vocabulary)) for word in sorted(words_of(title))] for title in titles]
    sizes = np.fromiter((len(w) for w in words), np.int64, len(words))
    flat = np.fromiter((w for row in words for w in row), np.int64, int(sizes.sum()))
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    table = sp.csr_matrix((np.ones(len(flat), np.float32), flat, offsets), shape=(len(titles), max(len(vocabulary), 1)))
    found = np.zeros(len(stops), bool)
    for at, before in track(_lags(train, stops, length), "choose samples"):
        common = table[train.items[stops[at]]].multiply(table[train.items[before]])
        found[at] |= np.asarray(common.sum(1)).ravel() > 0
    return found


def similar(train: Interactions, stops: Int64, vectors: FloatArray, length: int, least: float) -> Mask:
    """(N,) True where the answer's text has a cosine of at least ``least`` with one of the last ``length`` items."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    found = np.zeros(len(stops), bool)
    for at, before in track(_lags(train, stops, length), "choose samples"):
        for start in range(0, len(at), 8192):
            indices = at[start : start + 8192]
            ours, theirs = unit[train.items[stops[indices]]], unit[train.items[before[start : start + 8192]]]
            found[indices] |= (ours * theirs).sum(1) >= least
    return found


def _lags(train: Interactions, stops: Int64, length: int) -> list[tuple[Int64, Int64]]:
    """For each step back: which samples have such an event, and its number."""
    begins = train.offsets[train.users[stops]]
    steps = ((np.flatnonzero(stops - lag >= begins), lag) for lag in range(1, length + 1))
    return [(at, stops[at] - lag) for at, lag in steps]


def buckets(values: Int64, count: int) -> Int64:
    """(n,) bucket 0 to ``count - 1`` of each value, equally wide in the logarithm between the least and the most."""
    if not len(values):
        return np.zeros(0, np.int64)
    logs = np.log(np.maximum(values, 1).astype(np.float64))
    low, high = float(logs.min()), float(logs.max())
    if high <= low:
        return np.zeros(len(values), np.int64)
    return np.minimum((logs - low) / (high - low) * count, count - 1).astype(np.int64)


def allocate(sizes: Int64, total: int) -> Int64:
    """How many to draw from cells of the given sizes: evenly, and what a small cell lacks is shared by the others."""
    out = np.zeros(len(sizes), np.int64)
    left = min(total, int(sizes.sum()))
    while left:
        open_cells = np.flatnonzero(out < sizes)
        each, rest = divmod(left, len(open_cells))
        # in the last round fewer are left than cells: the largest cells give one more each
        ordered = open_cells[np.argsort(-(sizes - out)[open_cells], kind="stable")]
        shares = np.full(len(ordered), each, np.int64)
        shares[:rest] += 1
        given = np.minimum(shares, (sizes - out)[ordered])
        out[ordered] += given
        left -= int(given.sum())
    return out


def choose(
    train: Interactions,
    titles: Sequence[str],
    *,
    fraction: float,
    filter: Filter = "none",
    length: int = 10,
    texts: FloatArray | None = None,
    min_similarity: float = 0.3,
    user_buckets: int = 1,
    item_buckets: int = 1,
    seed: int = 0,
) -> Sample:
    """Chooses training samples.

    Args:
        train: training events.
        titles: (I,) titles.
        fraction: of all samples; 1 keeps whatever denoising leaves.
        filter: what drops a sample before the draw.
        length: last items of the history that count for denoising.
        texts: (I, T) text vectors, for ``similarity``.
        min_similarity: least cosine, for ``similarity``.
        user_buckets: buckets of users by length (1: none).
        item_buckets: buckets of items by popularity (1: none).
        seed: of the draw.

    Raises:
        ConfigError: ``similarity`` without text vectors, or nothing left to train on.
    """
    stops = answers(train)
    counts: dict[str, Any] = {"events with a history": len(stops), "filter": filter, "fraction": fraction}
    size = max(1, round(fraction * len(stops)))
    if filter == "words":
        stops = stops[shares_a_word(train, stops, titles, length)]
    elif filter == "similarity":
        if texts is None:
            raise ConfigError("ranker.filter = 'similarity' needs a [text] section: text vectors say what is alike")
        stops = stops[similar(train, stops, texts, length, min_similarity)]
    if not len(stops):
        raise ConfigError(f"ranker.filter = {filter!r} leaves no training sample; use 'none', or a longer history")
    counts["after denoising"] = len(stops)
    by_user = buckets(train.user_counts[train.users[stops]], user_buckets)
    by_item = buckets(train.item_counts[train.items[stops]], item_buckets)
    cells = by_user * item_buckets + by_item
    sizes = np.bincount(cells, minlength=user_buckets * item_buckets)
    quotas = allocate(sizes, size)
    order = np.random.default_rng(seed).permutation(len(stops))
    order = order[np.argsort(cells[order], kind="stable")]
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = np.sort(order[rank < quotas[cells[order]]])
    counts |= {"chosen": len(chosen), "users": len(np.unique(train.users[stops[chosen]]))}
    counts["items"] = len(np.unique(train.items[stops[chosen]]))
    counts["per user bucket"] = np.bincount(by_user[chosen], minlength=user_buckets).tolist()
    counts["per item bucket"] = np.bincount(by_item[chosen], minlength=item_buckets).tolist()
    return Sample(stops[chosen], by_user[chosen], by_item[chosen], counts)
