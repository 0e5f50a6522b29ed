"""Exact top-k of dot products for many queries and a catalogue of moderate size: all scores of some queries at once.

Of each small group of items the highest score is taken; the k-th highest of these is at most the k-th best score. Only
groups that reach it are looked into, and of them only what could be among the k best within the largest possible
rounding error is scored again, pair by pair, as everywhere (:mod:`interlingua.retrieval.topk`): the results are the
same to the last bit. A query for which the fixed number of opened groups does not suffice (many equal scores) is
answered there. Groups are strided, so that neighbours of a sorted catalogue are in different ones.

Shape key: B queries, I items, D width, k results, G groups of n items, W = G n columns (I and padding).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interlingua.contracts.scorer import TopK
from interlingua.data.queries import Queries
from interlingua.progress import task
from interlingua.retrieval.screening import faster_type, rounding
from interlingua.retrieval.topk import LARGEST, NOTHING, top_k

BLOCK_BYTES = 4 * 2**20
"""scores of one block of queries, which stay in a processor's cache"""
LEAST_QUERIES = 64
"""of one block: a product of fewer with the whole catalogue is slow"""
LARGEST_CATALOGUE = 100_000
"""items; above it blocks of items are as fast"""
SPARE = {torch.float32: (8, 1.0), torch.bfloat16: (16, 1.5)}
"""type of the screened scores -> a and b: ``a + b k`` groups are opened, and as many items scored again"""


def suits(queries: Tensor, items: Tensor, k: int) -> bool:
    """Whether this way is the faster one: on a processor, and with many more groups than are opened."""
    cpu = queries.device.type == "cpu" and items.device.type == "cpu"
    return cpu and k > 0 and 16 * _opened(torch.float32, k) < len(items) <= LARGEST_CATALOGUE


def top_k_at_once(
    queries: Tensor, items: Tensor, k: int, *, bias: Tensor | None, seen: Queries | None, hidden: Tensor | None,
    screen: torch.dtype | None = None,
) -> TopK:  # fmt: skip
    """As :func:`interlingua.retrieval.topk.top_k`, for what :func:`suits`."""
    with torch.no_grad():
        users, table = queries.float(), items.float()
        if bias is not None:
            table = torch.cat([table, bias[:, None].float()], dim=1)
            users = torch.cat([users, users.new_ones(len(users), 1)], dim=1)
        lengths, longest = users.norm(dim=1), table.norm(dim=1).amax()
        if not bool(longest < LARGEST) or not bool((lengths < LARGEST).all()):  # a NaN is not below anything
            return top_k(queries, items, k, bias=bias, seen=seen, hidden=hidden)
        dtype = screen or faster_type(users, table)
        if 16 * _opened(dtype, k) >= len(items):
            dtype = torch.float32
        block = _Block(users, table, lengths * longest * rounding(dtype, table.shape[1]), k, dtype, seen, hidden)
        indices, scores, failed = block.all()
    if len(failed):
        rest = None if seen is None else seen.take(failed)
        found = top_k(queries[torch.from_numpy(failed)], items, k, bias=bias, seen=rest, hidden=hidden)
        indices[failed], scores[failed] = found.indices, found.scores
    return TopK(indices, scores)


def _group(num_items: int, opened: int) -> int:
    """Items of a group, a power of two, so that few are looked through: ``I / n`` maxima and ``opened n`` items."""
    return int(2 ** np.clip(np.round(np.log2(num_items / opened) / 2), 2, 6))


def _opened(dtype: torch.dtype, k: int) -> int:
    more, factor = SPARE[dtype]
    return int(more + factor * k)


class _Block:
    """The scores of one block of queries after the other, in the same memory."""

    def __init__(
        self, users: Tensor, table: Tensor, error: Tensor, k: int, dtype: torch.dtype, seen: Queries | None,
        hidden: Tensor | None,
    ) -> None:  # fmt: skip
        self.users, self.table, self.k, self.seen = users, table, k, seen
        self.error = error.numpy()
        self.hidden = None if hidden is None else torch.nonzero(hidden)[:, 0]
        self.opened = _opened(dtype, k)
        self.members = _group(len(table), self.opened)
        self.groups = -(-len(table) // self.members)
        self.right = table.to(dtype).T
        width = self.groups * self.members
        self.size = max(LEAST_QUERIES, BLOCK_BYTES // (self.right.element_size() * width))
        self.scores = torch.full((min(self.size, len(users)), width), NOTHING, dtype=dtype)

    def all(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """(B, k) items and scores, and the queries that must be answered otherwise."""
        indices = np.full((len(self.users), self.k), -1, np.int64)
        scores = np.full((len(self.users), self.k), NOTHING, np.float32)
        failed = []
        starts = range(0, len(self.users), self.size)
        with task("top-k", len(starts)) as shown:
            for start in starts:
                part = slice(start, start + self.size)
                indices[part], scores[part], bad = self._one(start)
                failed.append(start + np.flatnonzero(bad))
                shown.advance()
        return indices, scores, np.concatenate([np.zeros(0, np.int64), *failed])

    def _one(self, start: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        users, error = self.users[start : start + self.size], self.error[start : start + self.size]
        self._screen(users, start)
        screened = self.scores[: len(users)]
        groups, closed = _highest(_maxima(screened, self.groups), self.opened)
        columns = (groups[:, None, :] + self.groups * np.arange(self.members)[:, None]).reshape(len(users), -1)
        places, left_out = _highest(screened.gather(1, torch.from_numpy(columns)).float().numpy(), self.opened)
        items = np.sort(np.take_along_axis(columns, places, axis=1), axis=1)  # of equal scores the lower item first
        exact = self._exact(users, items, masked=bool((left_out == NOTHING).any()))
        order = np.argsort(-exact, axis=1, kind="stable")[:, : self.k]
        found, scores = np.take_along_axis(items, order, axis=1), np.take_along_axis(exact, order, axis=1)
        best_left = np.maximum(closed, left_out)  # by the error it may be better than its score
        bad = (best_left > NOTHING) & (best_left + error >= scores[:, -1])
        return np.where(scores > NOTHING, found, -1), scores, bad

    def _screen(self, users: Tensor, start: int) -> None:
        """Scores of the block, with minus infinity for what may not come out."""
        out, count = self.scores[: len(users)], len(self.table)
        torch.mm(users.to(out.dtype), self.right, out=out[:, :count])
        if self.hidden is not None:
            out[:, self.hidden] = NOTHING
        if self.seen is not None:
            seen = self.seen.slice(start, start + len(users))
            owner = np.repeat(np.arange(len(seen)), seen.lengths())
            out[torch.from_numpy(owner), torch.as_tensor(seen.items, dtype=torch.int64)] = NOTHING

    def _exact(self, users: Tensor, items: npt.NDArray[np.int64], *, masked: bool) -> npt.NDArray[np.float32]:
        """(B, c) scores as :func:`interlingua.retrieval.topk.exact_scores` sums them; masked items: minus infinity."""
        chosen = torch.from_numpy(items)
        part = self.table.index_select(0, chosen.clamp_max(len(self.table) - 1).flatten()).view(*items.shape, -1)
        exact = part.mul_(users[:, None, :]).sum(dim=2)
        if masked:
            exact.masked_fill_(self.scores[: len(users)].gather(1, chosen) == NOTHING, NOTHING)
        return exact.numpy()


def _maxima(screened: Tensor, groups: int) -> npt.NDArray[np.float32]:
    """(B, G) the highest score of each group: columns g, g + G, g + 2 G, ..."""
    if screened.dtype == torch.float32:
        return screened.view(len(screened), -1, groups).amax(dim=1).numpy()
    width = screened.shape[1]
    while width > groups:  # of bfloat16 the maximum of two halves is faster
        width //= 2
        screened = torch.maximum(screened[:, :width], screened[:, width:])
    return screened.float().numpy()


def _highest(values: npt.NDArray[np.float32], count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """(B, count) columns of the highest of ``values`` (B, N), and (B,) the highest of the others."""
    last = values.shape[1] - count
    places = np.argpartition(values, last - 1, axis=1)
    return places[:, last:], np.take_along_axis(values, places[:, last - 1, None], axis=1)[:, 0]
