"""Items found by words of their titles."""

from __future__ import annotations

import time

import numpy as np

from interlingua.runs.title_search import TitleSearch

TITLES = ["The Lost World", "Lost", "A World Lost Again", "Straße nach Süden", "Unrelated", "lost and found"]
SEARCH = TitleSearch([f"i{n}" for n in range(6)], TITLES, np.array([1, 9, 2, 3, 4, 8]))


def test_every_word_and_the_best_places_first() -> None:
    assert SEARCH.find("LOST", 10) == [1, 5, 2, 0]  # beginnings by events, then words by events
    assert SEARCH.find("world lost", 10) == [2, 0]
    assert SEARCH.find("strasse", 10) == [3]
    assert SEARCH.find("nothing of the kind", 10) == []


def test_accents_do_not_matter() -> None:
    search = TitleSearch(["é1", "e2"], ["Blaues K\u00e4nnchen", "Cafe\u0301 au lait"], np.array([1, 2]))
    for words in ("kannchen", "K\u00c4NNCHEN", "ka\u0308nnchen"):
        assert search.find(words, 10) == [0]
    assert search.find("caf\u00e9 LAIT", 10) == search.find("cafe", 10) == [1]
    assert search.find("\u00e91", 10) == [0]  # ids are exact
    assert search.find("e1", 10) == []


def test_an_id_an_empty_query_a_limit_and_what_is_closed() -> None:
    assert SEARCH.find("i4", 10) == [4]
    assert SEARCH.find("", 3) == [1, 5, 4]
    assert SEARCH.find("lost", 2, np.array([False, True, False, False, False, False])) == [5, 2]


def test_a_large_catalogue_answers_at_a_key_stroke() -> None:
    count = 100_000
    titles = [f"Item {n} of the {'golden' if n % 100 else 'silver'} shelf" for n in range(count)]
    search = TitleSearch([str(n) for n in range(count)], titles, np.arange(count))
    started = time.perf_counter()
    assert search.find("silver shelf", 5) == [99_900, 99_800, 99_700, 99_600, 99_500]
    assert time.perf_counter() - started < 2  # some 20 ms on a machine of its own
