"""The sentence of a reason: chosen by the model among what is known, or the rule's, and true by construction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.llm.known_scores import CATEGORIES, MOVIE, Additive

from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.explain.evidence import Part, content_words
from interlingua.explain.explain import Catalogue, explain, explain_items
from interlingua.explain.influence import choose_support, influences
from interlingua.runtime.cancel import Cancellation, Cancelled, cancellable
from interlingua.testing.tiny_models import TITLES, tiny


def test_without_a_reason_that_counts_the_sentence_says_so():
    scorer = Additive()
    scorer.weights[[1, 5]] = 0.0
    scorer.weights[1, 3] = 0.002
    scorer.weights[7, 3] = 5.0
    answer = explain(scorer, None, Queries.of([[7, 1, 5]]), 3, TITLES, MOVIE, max_history=2)  # type: ignore[arg-type]
    assert answer.support == []
    assert answer.sentence.endswith("no single movie in it is the reason.")


def test_an_item_of_the_same_title_is_told_apart():
    scorer, titles = Additive(), ["Brass mug", "Brass mug", "Brass mug", *(f"Item {n}" for n in range(3, len(TITLES)))]
    scorer.weights[:] = 0.0
    scorer.weights[1, 0], scorer.weights[2, 0], scorer.weights[4, 0] = 4.0, 3.0, 2.0
    alone = explain(scorer, None, Queries.of([[2, 1]]), 0, titles, MOVIE)  # type: ignore[arg-type]
    assert alone.sentence == "Brass mug is recommended because you have watched another movie of the same title."
    assert [row for row, _ in alone.support] == [1]
    assert (alone.held, {each.id for each in alone.evidence}) == (1.0, {"title:0", "title:1", "event:1"})
    both = explain(scorer, None, Queries.of([[4, 1]]), 0, titles, MOVIE)  # type: ignore[arg-type]
    assert both.sentence.endswith("because you have watched another movie of the same title and Item 4.")
    kinds = ["Kitchen", "Table", *["Kitchen"] * (len(TITLES) - 2)]
    begun = explain(scorer, None, Queries.of([[4, 1]]), 0, titles, MOVIE, kinds)  # type: ignore[arg-type]
    assert begun.sentence.endswith("have watched. Another movie of the same title raised its score too.")


@pytest.mark.parametrize(
    ("ratings", "word"), [((5.0, 1.0, 1.0), "liked"), ((1.0, 5.0, 1.0), "have watched"), (None, "have watched")]
)
def test_the_words_follow_the_ratings(ratings, word):
    """Only row 1 raises the score: liked, disliked, not rated."""
    scorer = Additive()
    scorer.weights[:] = 0.0
    scorer.weights[1, 0] = 5.0
    query = Queries.of([[1, 3, 4]])
    if ratings is not None:
        query = Queries(query.users, query.items, query.offsets, np.array(ratings, np.float32))
    answer = explain(scorer, tiny("llama"), query, 0, TITLES, MOVIE, CATEGORIES)
    assert answer.support[0][0] == 1
    assert answer.liked is (word == "liked")
    assert ("liked" in answer.sentence) is (word == "liked")
    assert word in answer.sentence


def ask(item=0, history=(1, 3, 4)):
    return explain(Additive(), tiny("llama"), Queries.of([list(history)]), item, TITLES, MOVIE, CATEGORIES)


def test_the_model_chooses_among_what_is_known():
    answer = ask()
    assert not answer.from_template
    (influence,) = influences(Additive(), Queries.of([[1, 3, 4]]), [0])
    assert answer.support == choose_support(influence)
    assert "".join(part.text for part in answer.parts).strip() == answer.sentence
    claims, held = content_words(answer.parts)
    assert claims == held > 3
    assert answer.held == 1.0
    invented = replace(answer, parts=[*answer.parts, Part(" A thrilling masterpiece.")])
    assert invented.held == held / (claims + 2)
    assert replace(answer, parts=[]).held == 1.0  # nothing is claimed
    named = {id_ for part in answer.parts for id_ in part.evidence}
    assert {each.id for each in answer.evidence} == named
    assert f"title:{0}" in named
    assert all(each.text for each in answer.evidence)


def test_what_speaks_for_an_item_as_a_whole():
    """Nothing does where the history lowers the score, or changes nothing; an item is no reason for itself."""
    scorer = Additive()
    scorer.weights[:] = 0.0
    scorer.weights[[1, 3], 0] = -1.0
    for history, words in (([1, 3], "Nothing in your history"), ([4], "Nothing in your history"), ([], "no history")):
        assert words in explain(scorer, None, Queries.of([history]), 0, TITLES, MOVIE).sentence
    scorer.weights[0, 0] = 5.0
    assert explain(scorer, None, Queries.of([[0, 4]]), 0, TITLES, MOVIE).support == []


def test_without_a_model_the_rule_speaks():
    answer = explain(Additive(), None, Queries.of([[1, 3, 4]]), 0, TITLES, MOVIE, CATEGORIES)
    assert answer.from_template
    assert answer.support == ask().support
    assert "The Matrix" in answer.sentence


def test_descriptions_may_be_quoted_and_nothing_else_of_them():
    known = Catalogue(TITLES, MOVIE, CATEGORIES, ["A hacker learns what is real. Best film ever made by anyone!"] * 12)
    lm = tiny("llama")
    (answer,) = explain_items(Additive(), lm, Queries.of([[1, 3, 4]]), [0], known)
    spans = [each.text for each in answer.evidence if each.kind == "description"]
    assert spans in ([], ["A hacker learns what is real / Best film ever made by anyone!"])


def test_in_a_hurry_the_rule_speaks():
    with cancellable(Cancellation(0.0)), pytest.raises(Cancelled):
        ask()
    hurried = Cancellation(1000.0)
    hurried.deadline -= 600.0
    with cancellable(hurried):
        answer = explain(Additive(), None, Queries.of([[1, 3, 4]]), 0, TITLES, MOVIE, CATEGORIES)  # type: ignore[arg-type]
    assert answer.from_template
    assert answer.support == ask().support


def test_several_reasons_are_those_of_one_by_one():
    known = Catalogue(TITLES, MOVIE, CATEGORIES)
    together = explain_items(Additive(), tiny("llama"), Queries.of([[1, 3, 4]]), [0, 2, 6], known)
    assert together == [ask(item) for item in (0, 2, 6)]


def test_an_empty_history_has_no_reason_and_needs_no_model():
    answer = explain(Additive(), None, Queries.of([[]]), 3, TITLES, MOVIE)  # type: ignore[arg-type]
    assert answer.from_template
    assert answer.support == []


def test_the_tiny_model_really_runs_and_is_deterministic():
    a, b = ask(), ask()
    assert a == b
    assert a.sentence


def test_wrong_questions(llama):
    with pytest.raises(ConfigError, match="one user at a time"):
        explain(Additive(), llama, Queries.of([[1], [2]]), 0, TITLES)
    with pytest.raises(ConfigError, match="not among"):
        explain(Additive(), llama, Queries.of([[1]]), 99, TITLES)
