"""What a history item did to the score, which items are named for it, and whether they were liked."""

from __future__ import annotations

import numpy as np
import pytest
from tests.llm.known_scores import MOVIE, NAN, Additive, Fixed

from interlingua.data.queries import Queries
from interlingua.explain.explain import explain
from interlingua.explain.influence import Basis, Influence, choose_support, influences
from interlingua.explain.support import likings, named_support
from interlingua.testing.tiny_models import TITLES


def test_influence_is_the_fall_of_the_score_without_the_item():
    scorer, history, item = Additive(), np.array([1, 5, 7]), 3
    (got,) = influences(scorer, Queries.of([history]), [item])
    others = [i for i in range(scorer.num_items) if i not in (1, 5, 7, 3)]
    expected = [scorer.weights[h, item] - scorer.weights[h, others].mean() for h in history]
    np.testing.assert_allclose(got.values, expected, atol=1e-3)
    assert got.lead == pytest.approx(sum(expected), abs=1e-3)
    assert got.basis == Basis.SCORE
    assert influences(scorer, Queries.of([[]]), [item])[0].values == []


class Once(Additive):
    """What was had several times counts once, as in a matrix of zeros and ones."""

    def score(self, queries, items=None):
        once = [np.unique(queries.history(b)) for b in range(len(queries))]
        return super().score(Queries.of(once, queries.users), items)


@pytest.mark.parametrize("scorer", [Additive(), Once()])
def test_what_was_had_several_times_is_left_out_everywhere_at_once(scorer):
    """By hand: the score of the whole history less that of the history without any 5."""
    history, item, others = [5, 1, 5, 7, 5], 3, [i for i in range(scorer.num_items) if i not in (1, 5, 7, 3)]
    (got,) = influences(scorer, Queries.of([history]), [item])
    times = 3 if type(scorer) is Additive else 1
    lead = scorer.weights[:, item] - scorer.weights[:, others].mean(1)
    assert got.items == (1, 7, 5)
    np.testing.assert_allclose(got.values, [lead[1], lead[7], times * lead[5]], atol=1e-3)
    (last_two,) = influences(scorer, Queries.of([history]), [item], max_history=2)
    assert last_two.items == (7, 5)
    best = int(np.argmax(scorer.score(Queries.of([[5]]))[0]))
    once, twice = (explain(scorer, None, Queries.of([own]), best, TITLES, MOVIE) for own in ([5], [5, 5]))  # type: ignore[arg-type]
    assert once.support
    assert (twice.sentence, [row for row, _ in twice.support]) == (once.sentence, [5])


def test_several_items_at_once_are_measured_as_one_by_one():
    query = Queries.of([[1, 5, 7]])
    together = influences(Additive(), query, [3, 0, 9])
    for item, found in zip([3, 0, 9], together, strict=True):
        assert influences(Additive(), query, [item])[0] == found


def test_the_score_that_recommended_is_measured():
    """A known user's own score, with the whole history; only the last items are left out in turn."""
    asked = []

    class Asked(Additive):
        def score(self, queries, items=None):
            asked.append([(int(u), queries.history(b).tolist()) for b, u in enumerate(queries.users)])
            return super().score(queries, items)

    query = Queries.of([[1, 5, 7, 2]], np.array([6]))
    (found,) = influences(Asked(), query, [3], max_history=2)
    assert asked == [[(6, [1, 5, 7, 2]), (6, [1, 5, 2]), (6, [1, 5, 7]), (6, [])]]
    assert len(found.values) == 2


def test_where_the_score_reads_no_history_a_stand_in_is_measured_and_said():
    scorer, history = Fixed(), [1, 5, 7]
    (known,) = influences(scorer, Queries.of([history], np.array([2])), [3])
    (unknown,) = influences(scorer, Queries.of([history]), [3])
    assert (known.basis, unknown.basis) == (Basis.HISTORY, Basis.SCORE)
    assert known.values == unknown.values
    best = int(np.argmax([influences(scorer, Queries.of([history]), [i])[0].lead for i in range(10)]))
    answer = explain(scorer, None, Queries.of([history], np.array([2])), best, TITLES, MOVIE)  # type: ignore[arg-type]
    assert (answer.basis, answer.from_template) == (Basis.HISTORY, True)
    assert "because" not in answer.sentence.lower()
    assert "raised" not in answer.sentence


def test_support_is_what_raised_the_score():
    def chosen(history, values, **more):
        return choose_support(Influence(values, 1.0, 0.0, items=tuple(history), **more))

    assert chosen([4, 5, 6, 7], [0.5, -1.0, 2.0, 0.1]) == [(6, 2.0), (4, 0.5)]
    assert chosen([4, 5], [-0.5, NAN]) == []


@pytest.mark.parametrize(("lead", "spread"), [(2.0, 0.1), (0.1, 2.0), (-3.0, 0.1)])
def test_a_trace_of_influence_is_no_reason(lead, spread):
    """+0.002 of a lead of 2 decides nothing."""
    assert choose_support(Influence([0.002, 0.0], lead, spread, items=(4, 5))) == []
    assert choose_support(Influence([0.2, 0.0], lead, spread, items=(4, 5))) == [(4, 0.2)]
    assert choose_support(Influence([0.2], -1.0, 0.0, Basis.HISTORY, items=(4,))) == []  # would not recommend it


def test_ratings_travel_with_histories():
    query = Queries(np.arange(2), np.array([4, 5, 6]), np.array([0, 2, 3]), np.array([1.0, 2.0, 3.0], np.float32))
    assert query.take(np.array([1, 0])).history_ratings(1).tolist() == [1.0, 2.0]
    assert query.slice(1, 2).history_ratings(0).tolist() == [3.0]
    assert np.isnan(Queries.of([[1, 2]]).history_ratings(0)).all()


def test_liked_is_what_the_user_rated_at_or_above_the_own_mean():
    history, ratings = np.array([4, 5, 6, 7, 5]), np.array([3.0, 5.0, 2.0, NAN, 1.0], np.float32)
    assert likings(history, ratings) == {4: True, 5: False, 6: False}  # the last word counts; mean 2.75
    assert likings(history, ratings, 4.0) == {4: False, 5: False, 6: False}
    assert likings(history, np.full(5, NAN, np.float32)) == {}
    assert likings(history, np.full(5, 4.0, np.float32)) == {}


def test_support_that_was_disliked_is_never_named_as_liked():
    history, ratings = np.array([1, 2, 3, 4]), np.array([1.0, 5.0, NAN, 2.0], np.float32)
    assert named_support([(1, 3.0), (2, 1.0), (3, 0.5)], history, ratings) == ([(2, 1.0)], True)
    assert named_support([(1, 3.0), (3, 0.5)], history, ratings) == ([(3, 0.5)], False)
    assert named_support([(1, 3.0), (4, 0.5)], history, ratings) == ([(1, 3.0), (4, 0.5)], False)
    assert named_support([(n, 1.0) for n in range(10, 20)], history, ratings)[0] == [(10, 1.0), (11, 1.0), (12, 1.0)]
    assert named_support([], history, ratings) == ([], False)
