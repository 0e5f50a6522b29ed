"""The items two hops behind a history: those that others had who share items with it.

Shape key: B queries, I items, U users, L last events, K items of a list.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from interlingua.data.queries import PAD, Queries


class TwoHops:
    """A walk from the items of a history to who had them, and on to what else these had; each step chooses alike.

    A query's own row of the graph is left out of the walk, and items of its whole history are left out of the list. So
    the list before a training event is made without that event, and an unknown user with a known one's history has
    the same list.

    Args:
        graph: (U, I) 1 where a user has an item.
    """

    def __init__(self, graph: sp.csr_matrix) -> None:
        self._graph, self._back = graph.astype(np.float64), graph.T.tocsr().astype(np.float64)
        self._of_users, self._of_items = (1 / np.maximum(np.asarray(graph.sum(axis)).ravel(), 1) for axis in (1, 0))

    def weights(self, queries: Queries, last: int) -> sp.csr_matrix:
        """(B, I) chances to end at each item, from the distinct items of the last L = ``last`` events, summed."""
        begins = _histories(queries, self._graph.shape[1], last)
        begins.data *= self._of_items[begins.indices]
        users = (begins @ self._back).tocsr()
        own = np.repeat(np.asarray(queries.users, np.int64), np.diff(users.indptr))
        users.data *= np.where(users.indices == own, 0.0, self._of_users[users.indices])
        return (users @ self._graph).tocsr()

    def lists(self, queries: Queries, last: int, count: int) -> npt.NDArray[np.int64]:
        """(B, K) the ``count`` items with the largest weights, best first, of equals the first; PAD behind them."""
        weights, had = self.weights(queries, last), _histories(queries, self._graph.shape[1], None)
        out = np.full((len(queries), count), PAD, np.int64)
        for row in range(len(queries)):
            part = slice(weights.indptr[row], weights.indptr[row + 1])
            items, chances = weights.indices[part], weights.data[part].round(12)  # equal ones stay equal
            new = (chances > 0) & ~np.isin(items, had.indices[had.indptr[row] : had.indptr[row + 1]])
            best = np.lexsort((items[new], -chances[new]))[:count]
            out[row, : len(best)] = items[new][best]
        return out


def _histories(queries: Queries, num_items: int, last: int | None) -> sp.csr_matrix:
    """(B, I) 1 at the distinct items of the last events of each query; None: of all of them."""
    events = [np.unique(queries.history(row)[-last if last else 0 :]) for row in range(len(queries))]
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in events])]).astype(np.int64)
    flat = np.concatenate(events) if events else np.zeros(0, np.int64)
    return sp.csr_matrix((np.ones(len(flat)), flat, offsets), shape=(len(queries), num_items))
