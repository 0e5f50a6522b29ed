"""Order of events: by user and time, and at equal times by a rule independent of the order of rows in a file."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

TieRule = Literal["hash", "file"]
"""``hash``: by the two ids, see :func:`pair_hashes`; ``file``: in the order of the rows"""

IntIndices = npt.NDArray[np.signedinteger[Any]]


def id_hashes(ids: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """(n,) 64 bits of BLAKE2b of each id: the same on every machine, in every version."""
    digests = [hashlib.blake2b(str(i).encode("utf-8", "surrogatepass"), digest_size=8).digest() for i in ids.tolist()]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def pair_hashes(users: npt.NDArray[np.uint64], items: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """(n,) one hash per pair of hashes (the finaliser of SplitMix64): no item comes first for all users."""
    with np.errstate(over="ignore"):
        mixed = users * np.uint64(0x9E3779B97F4A7C15) + items
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def order_by_time(users: IntIndices, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Stable order by (user, time): one sort of one key if both fit into 63 bits, else two."""
    if not len(users):
        return np.zeros(0, np.int64)
    first, last = int(times.min()), int(times.max())
    span = last - first + 1
    if (int(users.max()) + 1) * span < 2**63:
        return np.argsort(users.astype(np.int64) * span + (times - first), kind="stable")
    return np.lexsort((times, users))


def settle(
    order: npt.NDArray[np.int64],
    users: IntIndices,
    items: IntIndices,
    times: npt.NDArray[np.int64],
    fractions: npt.NDArray[np.float64] | None,
    ids: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    further: tuple[npt.NDArray[Any], ...],
    rule: TieRule,
) -> tuple[npt.NDArray[np.int64], int]:
    """``order`` with the events of equal user and time sorted by a declared rule.

    Args:
        order: (N,) order of the events by user and time.
        users: (N,) indices in ``ids[0]``.
        items: (N,) indices in ``ids[1]``.
        times: (N,)
        fractions: (N,) fractional parts of the times; they are compared first.
        ids: external ids of users and items.
        further: (N,) arrays that order events of the same pair (rating, part), so that the file decides nothing.
        rule: see :data:`TieRule`.

    Returns:
        (N,) the order, and the number of events that the rule (not the time or its fraction) ordered.
    """
    user, time = users[order], times[order]
    tied = (user[1:] == user[:-1]) & (time[1:] == time[:-1])
    inside = np.zeros(len(order), bool)
    inside[1:] |= tied
    inside[:-1] |= tied
    places = np.flatnonzero(inside)
    if not len(places):
        return order, 0
    group = np.cumsum(np.append(True, ~tied))[places]
    events = order[places]
    above = np.zeros(len(events)) if fractions is None else fractions[events]
    keys: list[npt.NDArray[Any]] = [above, group]
    if rule == "hash":
        hashes = [_of_indices(users[events], ids[0]), _of_indices(items[events], ids[1])]
        keys = [*(f[events] for f in reversed(further)), items[events], pair_hashes(hashes[0], hashes[1]), *keys]
    again = np.lexsort(keys)
    out = order.copy()
    out[places] = events[again]
    same = (group[again][1:] == group[again][:-1]) & (above[again][1:] == above[again][:-1])
    return out, int((np.append(same, False) | np.append(False, same)).sum())


def _of_indices(indices: IntIndices, ids: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    present, inverse = np.unique(indices, return_inverse=True)
    return id_hashes(ids[present])[inverse]
