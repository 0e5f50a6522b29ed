from __future__ import annotations

import time

import pytest

from interlingua.llm.facts import Evidence, TitleMatcher, objections, sentences, spoken

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
    assert objections("You liked Toy Story 2.", known, matcher) == []
    assert objections("You liked Toy Story.", known, matcher) == ["title 'Toy Story'"]
    assert objections("You liked Toy Story 2 and Toy Story.", known, matcher) == ["title 'Toy Story'"]


@pytest.mark.parametrize(
    ("sentence", "wrong"),
    [
        ("Like The Matrix, it is a bold film.", ""),
        ("It has Keanu Reeves in it.", "name 'Keanu'"),
        ("The film of 1999 is bold.", ""),
        ("It is from 1984.", "year 1984"),
        ("It is a horror film.", "category 'horror'"),
        ("It is a sci-fi film.", ""),
        ("It has a film noir look.", "category 'film-noir'"),
        ("It is dramatic.", ""),
        ('It is a "masterpiece of Kubrick".', "quotation 'masterpiece of Kubrick'"),
        ("I think The Matrix's hero is fine.", ""),
        ("It is like Inception.", "name 'Inception'"),
    ],
)
def test_what_the_evidence_does_not_hold_is_objected_to(sentence, wrong):
    found = objections(sentence, evidence("Matrix, The (1999)", texts=["Sci-Fi, Action"]), TitleMatcher(CATALOGUE))
    assert (wrong in found) if wrong else found == []


def test_a_large_catalogue_costs_a_look_up_per_word():
    titles = [f"Number {i} of a Series (19{i % 100:02d})" for i in range(50_000)]
    matcher = TitleMatcher([*titles, "Heat (1995)"])
    started = time.process_time()
    for _ in range(20):
        assert matcher.find("You may like Heat, and many another film that has words in it.") == ["Heat"]
    assert time.process_time() - started < 2
