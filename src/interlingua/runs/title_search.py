"""Items found by words of their titles, for people who look for one: fast enough to be asked at every key stroke."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from interlingua.data.queries import IntArray

_MARKS = re.compile("[\u0300-\u036f]")
"""that combine with letters"""
NONE_CLOSED = np.zeros(0, np.bool_)


def folded(text: str) -> str:
    """A text as it is searched: without case and accents (``Kännchen`` -> ``kannchen``)."""
    return text.casefold() if text.isascii() else _MARKS.sub("", normalize("NFKD", text)).casefold()


class TitleSearch:
    """The titles of one catalogue, in any case, with accents or without."""

    def __init__(self, ids: Sequence[str], titles: Sequence[str], counts: IntArray) -> None:
        """Args:
        ids: (I,) external.
        titles: (I,)
        counts: (I,) events, or of the first items: of equally good titles the popular ones come first.
        """
        self.ids, self.folded = [each.casefold() for each in ids], [folded(each) for each in titles]
        known = np.zeros(len(titles), np.int64)
        known[: len(counts)] = counts[: len(titles)]
        self.order = np.argsort(-known, kind="stable")
        self.popularity = np.empty(len(titles), np.int64)
        self.popularity[self.order] = np.arange(len(titles))

    def find(self, query: str, limit: int, closed: npt.NDArray[np.bool_] = NONE_CLOSED) -> list[int]:
        """Indices of the best ``limit`` items whose titles have every word of the query, or that have it as their id.

        Titles that begin with it come first, then those in which it begins a word; an empty query finds the popular
        ones. Items in ``closed`` (I,) are left out.
        """
        words = folded(query).split()
        whole, named = " ".join(words), " ".join(query.casefold().split())
        if not words:
            return self._first((int(row) for row in self.order), limit, closed)
        found = [row for row, title in enumerate(self.folded) if all(word in title for word in words)]
        by_id = {row for row, each in enumerate(self.ids) if each == named}

        def place(row: int) -> tuple[int, int]:
            title = self.folded[row]
            kind = 0 if row in by_id else 1 if title.startswith(whole) else 2 if f" {whole}" in title else 3
            return kind, int(self.popularity[row])

        return self._first(sorted({*found, *by_id}, key=place), limit, closed)

    def _first(self, places: Iterable[int], limit: int, closed: npt.NDArray[np.bool_]) -> list[int]:
        found: list[int] = []
        for row in places:
            if len(found) >= limit:
                break
            if not (len(closed) and closed[row]):
                found.append(row)
        return found
