"""Sampled candidates that depend on (seed, user id) alone: every method, batch and user subset sees the same ones.

Random numbers are hashes of (seed, external user id, draw number): no generator state that an order of users could
disturb, and the candidates do not change with a numpy version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from interlingua.data.interactions import Ids
from interlingua.data.queries import IntArray
from interlingua.runtime.sorted_sets import among, distinct

Keys = npt.NDArray[np.uint64]
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class SampledCandidates:
    """Items among which B users' targets are ranked; short rows are filled with a repeated item that does not count."""

    items: npt.NDArray[np.int64]
    """(B, C) item indices in shuffled order"""
    real: npt.NDArray[np.bool_]
    """(B, C) False for the filling"""


def user_keys(ids: Ids, *labels: object) -> Keys:
    """(M,) one 64-bit key per external user id, independent for different labels (seed, purpose)."""
    prefix = blake2b("/".join(map(str, labels)).encode(), digest_size=8).digest()
    digests = (blake2b(str(i).encode(), digest_size=8, key=prefix).digest() for i in ids)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def mix(values: Keys) -> Keys:
    """A well-mixed 64-bit hash of each number (the finaliser of splitmix64, Steele et al. 2014)."""
    x = values + GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def subset(ids: Ids, size: int, seed: int) -> npt.NDArray[np.int64]:
    """Positions of a random subset of users, ascending: those with the smallest hash of (seed, id).

    Subsets are nested: a larger one with the same seed contains the smaller one.
    """
    order = np.argsort(user_keys(ids, seed, "users"), kind="stable")
    return np.sort(order[:size]).astype(np.int64)


def negatives(
    keys: Keys, forbidden: IntArray, offsets: IntArray, num_items: int, count: int
) -> list[npt.NDArray[np.int64]]:
    """Uniform draws, without replacement, of items that a user has not seen; all if fewer than ``count`` are left.

    Args:
        keys: (B,) see :func:`user_keys`.
        forbidden: item indices that must not be drawn (history and targets), flat.
        offsets: (B + 1,) of ``forbidden``.
        num_items: catalogue size.
        count: items per user.
    """
    lengths = np.diff(offsets)
    banned = distinct(np.repeat(np.arange(len(keys)), lengths) * num_items + np.asarray(forbidden, np.int64))
    draws = 2 * count + 32
    if draws * 2 > num_items:  # rejection would waste more than one exact pass over the catalogue
        return [_exact(keys[b], forbidden[offsets[b] : offsets[b + 1]], num_items, count) for b in range(len(keys))]
    hashed = mix(keys[:, None] + np.arange(1, draws + 1, dtype=np.uint64)[None, :] * GOLDEN)
    items = ((hashed >> np.uint64(11)).astype(np.float64) * 2.0**-53 * num_items).astype(np.int64)
    pairs = items + np.arange(len(keys))[:, None] * num_items
    good = ~among(pairs, banned)
    order = np.argsort(pairs, axis=1, kind="stable")
    arranged = np.take_along_axis(pairs, order, 1)
    again = np.zeros_like(good)
    again[:, 1:] = arranged[:, 1:] == arranged[:, :-1]
    repeated = np.zeros_like(good)
    np.put_along_axis(repeated, order, again, 1)
    good &= ~repeated
    out = []
    for b in range(len(keys)):
        drawn = items[b][good[b]][:count]
        if len(drawn) < count:
            drawn = _exact(keys[b], forbidden[offsets[b] : offsets[b + 1]], num_items, count)
        out.append(drawn)
    return out


def _exact(key: np.uint64, forbidden: IntArray, num_items: int, count: int) -> npt.NDArray[np.int64]:
    """The ``count`` allowed items with the smallest hash: a uniform sample by one pass over the catalogue."""
    allowed = np.ones(num_items, bool)
    allowed[forbidden] = False
    items = np.flatnonzero(allowed)
    if count >= len(items):
        return items
    order = np.argsort(mix(key + (items.astype(np.uint64) + np.uint64(1)) * GOLDEN), kind="stable")
    return items[order[:count]]


def assemble(keys: Keys, targets: Sequence[IntArray], negatives: Sequence[npt.NDArray[np.int64]]) -> SampledCandidates:
    """Targets and negatives of each user in one shuffled row (position must tell a ranker nothing)."""
    width = max((len(t) + len(o) for t, o in zip(targets, negatives, strict=True)), default=0)
    items = np.zeros((len(keys), width), np.int64)
    real = np.zeros((len(keys), width), bool)
    for b, (target, other) in enumerate(zip(targets, negatives, strict=True)):
        row = np.concatenate([np.asarray(target, np.int64), other])
        row = row[np.argsort(mix(~keys[b] + row.astype(np.uint64) * GOLDEN), kind="stable")]
        items[b, : len(row)], items[b, len(row) :] = row, row[:1]
        real[b, : len(row)] = True
    return SampledCandidates(items, real)
