"""Exact top-k of dot products for a few queries, as one request brings them: the same results as by blocks, sooner.

All scores exist at once, as a product of matrices. As there, they only screen: what could be among the k best within
the largest possible rounding error is scored pair by pair, so an answer does not depend on how many were asked for.

Shape key: B queries, I items, D width, k results.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from interlingua.contracts.scorer import TopK
from interlingua.data.queries import Queries
from interlingua.retrieval.screening import rounding
from interlingua.retrieval.topk import LARGEST, NOTHING, exact_scores

MOST = 16
"""queries; from there on blocks are as fast"""


def top_k_of_few(
    queries: Tensor, items: Tensor, k: int, *, bias: Tensor | None, seen: Queries | None, hidden: Tensor | None
) -> TopK | None:
    """As :func:`interlingua.retrieval.topk.top_k`; None where values are so large that it has to look at them."""
    query, table, k = queries.float(), items.float(), min(k, len(items))
    norms, lengths = table.norm(dim=1), query.norm(dim=1)
    scores = query @ table.T
    if bias is not None:
        scores += bias.float()
        norms, lengths = torch.hypot(norms, bias.float()), torch.hypot(lengths, torch.ones(()).to(lengths))
    if not bool(norms.amax() < LARGEST) or not bool(lengths.amax() < LARGEST):  # a NaN is not below anything
        return None
    error = rounding(torch.float32, table.shape[1] + 1) * lengths * norms.amax()
    if hidden is not None:
        scores[:, hidden] = NOTHING
    if seen is not None:
        owner = np.repeat(np.arange(len(seen)), seen.lengths())
        scores[torch.from_numpy(owner), torch.as_tensor(seen.items, dtype=torch.int64)] = NOTHING
    bound = scores.topk(k, dim=1).values[:, -1]
    row, item = torch.nonzero((scores >= (bound - 2 * error)[:, None]) & (scores > NOTHING), as_tuple=True)
    if bias is not None:
        query = torch.cat([query, query.new_ones(len(query), 1)], dim=1)
    exact = exact_scores(query, items, bias, row, item)
    who, where, value = row.cpu().numpy(), item.cpu().numpy(), exact.cpu().numpy()
    order = np.lexsort((where, -value, who))
    who, where, value = who[order], where[order], value[order]
    place = np.arange(len(who)) - np.searchsorted(who, who)
    mask = place < k
    indices = np.full((len(query), k), -1, np.int64)
    best = np.full((len(query), k), NOTHING, np.float32)
    indices[who[mask], place[mask]], best[who[mask], place[mask]] = where[mask], value[mask]
    return TopK(indices, best)
