"""Retrieve, then re-rank: order, masking, ties, and the rest of the catalogue below."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interlingua.contracts.scorer import Scorer
from interlingua.data.queries import Queries
from interlingua.retrieval.best import mask_seen, top_items
from interlingua.retrieval.cascade import Candidates, RetrieveThenRerank, diversified


class Reverse(Scorer):
    """A ranker that prefers high row numbers."""

    def __init__(self, num_items: int) -> None:
        self.num_items = num_items
        self.asked: list[np.ndarray] = []

    def score(self, queries, items=None):
        self.asked.append(np.asarray(items))
        return np.asarray(items, np.float32)


class Same(Scorer):
    """The same scores for everybody."""

    def __init__(self, table):
        self.table, self.num_items = np.asarray(table, np.float32), len(table)

    def score(self, queries, items=None):
        table = np.repeat(self.table[None, :], len(queries), axis=0)
        return table if items is None else np.take_along_axis(table, items, axis=1)


def test_reader_orders_what_the_retriever_found_and_nothing_else():
    ranker = Reverse(6)
    cascade = RetrieveThenRerank(Same([9, 8, 7, 1, 2, 3]), ranker, n=3)
    listed = cascade.candidates(Queries.of([[]]))
    assert listed.items.tolist() == [[2, 1, 0]]
    assert listed.retrieved.tolist() == [[7.0, 8.0, 9.0]]
    assert ranker.asked[0].tolist() == [[0, 1, 2]]


def test_seen_and_hidden_items_never_come_out():
    cascade = RetrieveThenRerank(Same([9, 8, 7, 6, 5, 4]), Reverse(6), n=3)
    listed = cascade.candidates(Queries.of([[0], [5, 1]]), allowed=np.arange(6) != 2)
    assert listed.items.tolist() == [[4, 3, 1], [4, 3, 0]]


def test_fewer_unseen_items_than_places_leave_minus_one():
    cascade = RetrieveThenRerank(Same([3, 2, 1]), Reverse(3), n=3)
    listed = cascade.candidates(Queries.of([[0, 1]]))
    assert listed.items.tolist() == [[2, -1, -1]]
    assert np.isneginf(listed.scores[0, 1:]).all()


def test_full_score_ranks_the_shortlist_above_everything_else_in_the_readers_order():
    cascade = RetrieveThenRerank(Same([9, 8, 7, 1, 2, 30]), Reverse(6), n=3)
    scores = cascade.score(Queries.of([[]]))
    assert np.argsort(-scores[0], kind="stable").tolist() == [5, 1, 0, 2, 4, 3]


def test_candidate_scores_are_the_readers_own():
    cascade = RetrieveThenRerank(Same([9, 8, 7]), Reverse(3), n=2)
    assert cascade.score(Queries.of([[]]), np.array([[2, 0]])).tolist() == [[2.0, 0.0]]


def test_without_a_reader_the_retriever_decides_for_any_k():
    cascade = RetrieveThenRerank(Same([1, 5, 3, 4]), None, n=2)
    assert cascade.candidates(Queries.of([[1]]), 3).items.tolist() == [[3, 2, 0]]


def test_asking_for_more_than_the_reader_usually_sees_gives_as_many():
    cascade = RetrieveThenRerank(Same([9, 8, 7, 6]), Reverse(4), n=2)
    assert cascade.candidates(Queries.of([[]]), 3).items.tolist() == [[2, 1, 0]]


def test_mask_seen_only_touches_the_own_history():
    scores = np.zeros((2, 3), np.float32)
    mask_seen(scores, Queries.of([[2, 2], [0]]))
    assert np.isneginf(scores).tolist() == [[False, False, True], [True, False, False]]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.integers(1, 14))
def test_top_items_equals_a_stable_sort(values, n):
    scores = np.array([values], np.float32)
    expected = np.argsort(-scores[0], kind="stable")[: min(n, len(values))]
    assert top_items(scores, n)[0].tolist() == expected.tolist()


CATEGORIES = [frozenset(c) for c in ({"drama"}, {"drama"}, {"comedy"}, {"drama", "comedy"}, set())]


def _listed(items, scores):
    table = np.array([scores], np.float32)
    return Candidates(np.array([items], np.int64), table, table)


def test_diversity_by_hand():
    """Scores 4, 3, 1 (spread 1.2472): after item 0, item 1 has 3 / 1.2472 = 2.405 and item 2 has .802 + weight."""
    listed = _listed([0, 1, 2], [4.0, 3.0, 1.0])
    assert diversified(listed, CATEGORIES, 2, 1.55).items.tolist() == [[0, 1]]
    found = diversified(listed, CATEGORIES, 2, 1.65)
    assert found.items.tolist() == [[0, 2]]
    assert found.scores.tolist() == [[4.0, 1.0]]
    # half of their categories are shared: half the weight
    assert diversified(_listed([0, 1, 3], [4.0, 3.0, 1.0]), CATEGORIES, 2, 3.1).items.tolist() == [[0, 1]]
    assert diversified(_listed([0, 1, 3], [4.0, 3.0, 1.0]), CATEGORIES, 2, 3.3).items.tolist() == [[0, 3]]


def test_the_catalogues_first_item_gains_by_its_categories_as_any_other():
    listed = _listed([1, 2, 0], [4.0, 3.9, 3.8])
    assert diversified(listed, [frozenset({"comedy"}), *[frozenset({"drama"})] * 2], 2, 5.0).items.tolist() == [[1, 0]]


def test_an_item_without_categories_is_not_taken_for_a_different_one():
    assert diversified(_listed([0, 1, 4], [4.0, 3.9, 3.8]), CATEGORIES, 2, 5.0).items.tolist() == [[0, 1]]


def test_no_weight_or_no_categories_keep_the_order():
    listed = _listed([2, 0, 1, 3], [9.0, 5.0, 5.0, 1.0])
    assert diversified(listed, CATEGORIES, 3, 0.0).items.tolist() == [[2, 0, 1]]
    assert diversified(listed, [frozenset()] * 5, 3, 100.0).items.tolist() == [[2, 0, 1]]


def test_nobodys_lists_have_no_rows():
    empty = Candidates(np.zeros((0, 5), np.int64), np.zeros((0, 5), np.float32), np.zeros((0, 5), np.float32))
    assert diversified(empty, CATEGORIES, 3, 1.0).items.shape == (0, 3)


def test_diversity_of_short_lists():
    listed = _listed([1, -1, -1], [2.0, -np.inf, -np.inf])
    assert diversified(listed, CATEGORIES, 2, 1.0).items.tolist() == [[1, -1]]
    assert diversified(_listed([-1], [-np.inf]), CATEGORIES, 3, 1.0).items.tolist() == [[-1]]
    assert diversified(listed, CATEGORIES, 9, 1.0).items.tolist() == [[1, -1, -1]]
