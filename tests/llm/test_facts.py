from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlingua.explain.facts import Evidence, TitleMatcher, hopeless, objections, sentences, spoken

CATALOGUE = [
    "Matrix, The (1999)",
    "Toy Story (1995)",
    "Toy Story 2 (1999)",
    "Heat (1995)",
    "It (1990)",
    "Up (2009)",
    "Game, The (1997)",
    "Lord of the Rings: The Two Towers, The (2002)",
    "Amélie (Fabuleux destin d'Amélie Poulain, Le) (2001)",
    "What's Eating Gilbert Grape (1993)",
    "七人の侍",
]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Matrix, The (1999)", "The Matrix"),
        ("Amélie (Fabuleux destin d'Amélie Poulain, Le) (2001)", "Amélie"),
        ("Avventura, L' (1960)", "L'Avventura"),
        ("Heat", "Heat"),
        ("(500) Days of Summer (2009)", "(500) Days of Summer"),
        ("<|im_end|> hello\nworld", "hello world"),
        ("(1999)", "(1999)"),
    ],
)
def test_titles_as_people_say_them(title, expected):
    assert spoken(title) == expected


def test_sentences_are_whole_and_abbreviations_do_not_end_them():
    assert sentences("One. Two! And thr") == ["One.", "Two!"]
    assert sentences("It is like Dr. No. It ends.") == ["It is like Dr. No.", "It ends."]
    assert sentences("no end") == []
    assert sentences("Line one.\nLine two.") == ["Line one.", "Line two."]


@pytest.mark.parametrize(
    ("sentence", "named"),
    [
        ("You liked The Matrix and Toy Story 2.", ["The Matrix", "Toy Story 2"]),
        ("You liked the Matrix.", ["Matrix"]),
        ("It is full of heat and it goes up.", []),
        ('It is like "Heat", they say.', ["Heat"]),
        ("You may like Heat.", ["Heat"]),
        ("the lord of the rings: the two towers is long.", ["the lord of the rings: the two towers"]),
        ("You enjoy the game of chess.", []),
        ("Fans of Amélie agree.", ["Amélie"]),
        ("See what’s eating gilbert grape today.", []),
        ("See What's Eating Gilbert Grape today.", ["What's Eating Gilbert Grape"]),
    ],
)
def test_titles_are_found_where_they_are_names(sentence, named):
    found = TitleMatcher(CATALOGUE).find(sentence)
    assert [f.removeprefix("The ").removeprefix("the ") for f in found] == [
        n.removeprefix("The ").removeprefix("the ") for n in named
    ]


def evidence(*titles, texts=(), categories=("Drama", "Horror", "Sci-Fi", "Film-Noir")):
    return Evidence.of(titles, texts, categories)


def test_allowed_titles_hide_their_parts_only():
    matcher = TitleMatcher(CATALOGUE)
    known = evidence("Toy Story 2 (1999)")
    assert objections("You may enjoy Toy Story 2.", known, matcher) == []
    assert objections("You may enjoy Toy Story.", known, matcher)[0] == "title 'Toy Story'"
    assert objections("You may enjoy Toy Story 2 and Toy Story.", known, matcher)[0] == "title 'Toy Story'"


@pytest.mark.parametrize(
    ("sentence", "wrong"),
    [
        ("Since you enjoy The Matrix, it might be for you.", ""),
        ("It has Keanu Reeves in it.", "name 'Keanu'"),
        ("It is the film of 1999.", "year '1999'"),  # a title is known as a whole, its parts are no evidence
        ("It is from 1984.", "year '1984'"),
        ("It is a horror film.", "category 'horror'"),
        ("It is a sci-fi film.", ""),
        ("It has a film noir look.", "category 'film-noir'"),
        ("It is dramatic.", "word 'dramatic'"),
        ('It is a "masterpiece of Kubrick".', "quotation 'masterpiece of Kubrick'"),
        ("It is like Inception.", "name 'Inception'"),
        ("It's a Japanese restaurant in Tokyo.", "name 'Tokyo'"),
        ("It's a classic crime drama with a twist.", "word 'classic'"),
        ("It's a great book.", "word 'great'"),
        ("It is not a sci-fi film.", "word 'not'"),
        ("It is the only action film.", "word 'only'"),
        ("You liked it.", "word 'liked'"),
        ("It is a matrix of action.", "word 'matrix'"),
    ],
)
def test_what_the_evidence_does_not_hold_is_objected_to(sentence, wrong):
    known = evidence("Matrix, The (1999)", texts=["Sci-Fi, Action", "film"])
    found = objections(sentence, known, TitleMatcher(CATALOGUE))
    assert (wrong in found) if wrong else found == []


def test_the_words_of_a_title_are_no_evidence():
    """After "Great Expectations" a film is not yet a great one."""
    known = evidence("Great Expectations (1998)", "Up (2009)", texts=["film"])
    matcher = TitleMatcher([*CATALOGUE, "Great Expectations (1998)"])
    assert objections("It is a great film.", known, matcher) == ["word 'great'"]
    assert objections("It is up to you.", known, matcher) == ["word 'up'"]
    assert objections("Since you enjoy Great Expectations and Up, you may enjoy it.", known, matcher) == []


WORDS = (
    "it",
    "is",
    "a",
    "the",
    "sci-fi",
    "action",
    "film",
    "you",
    "may",
    "enjoy",
    "The",
    "Matrix",
    "with",
    "and",
    "of",
)


@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_only_words_of_the_evidence_pass(words):
    """Whatever passes consists of function words, the item's categories, the noun, and whole titles."""
    known = evidence("Matrix, The (1999)", texts=["Sci-Fi, Action", "film"])
    for foreign in ("twist", "Tokyo", "1984", "never", "drama"):
        sentence = " ".join([*words, foreign]) + "."
        assert objections(sentence, known, TitleMatcher(CATALOGUE))
        assert hopeless(f"{sentence} and", known)


def test_a_sentence_is_hopeless_only_once_a_whole_word_is_wrong():
    known = evidence("Matrix, The (1999)", texts=["Sci-Fi, Action", "film"])
    assert not hopeless("'s a sci-fi film with the Mat", known)
    assert not hopeless("'s a classi", known)
    assert hopeless("'s a classic ", known)
    assert hopeless("'s a classic.", known)


def test_a_large_catalogue_costs_a_look_up_per_word():
    titles = [f"Number {i} of a Series (19{i % 100:02d})" for i in range(50_000)]
    matcher = TitleMatcher([*titles, "Heat (1995)"])
    started = time.process_time()
    for _ in range(20):
        assert matcher.find("You may like Heat, and many another film that has words in it.") == ["Heat"]
    assert time.process_time() - started < 2
