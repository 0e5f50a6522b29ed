"""Whatever a language model chooses, it is true: every sentence that may be written is looked at."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlingua.data.domain import Domain
from interlingua.explain.evidence import Part, article, content_words, says_something, spans_of, together
from interlingua.explain.explain import Catalogue
from interlingua.explain.influence import Basis
from interlingua.explain.spoken import spoken
from interlingua.explain.wording import Facts, rule, wordings
from interlingua.lm.phrases import Phrase, texts

CLAIM_NOTHING = {
    *("because", "you", "may", "might", "enjoy", "like", "a", "an", "the", "and", "it", "is", "with", "which", "its"),
    *("too", "also", "fits", "your", "history", "as", "whole", "no", "single", "in", "reason", "goes", "recommended"),
    "shares",
    "nothing",
    "there",
    "that",
    "could",
    "be",
    "speaks",
    "for",
}
MOVIE = Domain("movie", "watch", "watched")
CATEGORIES = ["Crime", "Drama", "Sci-Fi", "Animation", "Film-Noir"]
NAMES = {0: "Heat", 1: "Casino", 2: "Toy Story", 3: "The Matrix"}


@st.composite
def some_facts(draw: st.DrawFn) -> Facts:
    support = draw(st.lists(st.integers(1, 3), max_size=3, unique=True))
    sets = st.lists(st.sampled_from(CATEGORIES), max_size=3, unique=True)
    spans: list[str] = draw(st.sampled_from([[], ["A detective and a thief"]]))
    return Facts(
        0, NAMES, support, {item: draw(sets) for item in (*support, 0)}, spans, MOVIE, draw(st.booleans()),
        draw(st.sampled_from(Basis)),
    )  # fmt: skip


def sentences(facts: Facts) -> list[tuple[Phrase, ...]]:
    asked = facts.support and facts.basis == Basis.SCORE
    return [rule(facts), *(itertools.islice(texts(wordings(facts)), 400) if asked else [])]


def parts_of(phrases: tuple[Phrase, ...]) -> list[Part]:
    return [Part(phrase.text, phrase.tags) for phrase in phrases]


@settings(max_examples=150, deadline=None)
@given(some_facts())
def test_every_content_word_stands_in_what_it_names_as_its_evidence(facts: Facts) -> None:
    known = {each.id: each.text.casefold() for each in facts.evidence()}
    for phrases in sentences(facts):
        for part in parts_of(phrases):
            assert set(part.evidence) <= known.keys()
            words = set(re.findall(r"[\w'-]+", part.text.casefold()))
            held = set(re.findall(r"[\w'-]+", " ".join(known[id_] for id_ in part.evidence)))
            if any(id_.startswith("event") for id_ in part.evidence):
                held |= {"have", "watched", "liked", "raised", "its", "score", "too", "recommended"}
            assert words <= CLAIM_NOTHING | held | ({"description"} if part.evidence else set()), part.text
        claims, with_evidence = content_words(parts_of(phrases))
        assert claims == with_evidence > 0


@settings(max_examples=150, deadline=None)
@given(some_facts())
def test_only_what_is_so_is_said(facts: Facts) -> None:
    """What an item is called is its own category, what is shared both have, liked is what was rated so."""
    for phrases in sentences(facts):
        sentence = together(parts_of(phrases))
        assert sentence.endswith(".")
        assert not re.search(r"ecause you[^:]*, Heat is", sentence)  # what was liked does not make an item what it is
        assert ("liked" in sentence) <= facts.liked
        assert ("have watched" in sentence) <= (not facts.liked)
        if facts.basis == Basis.HISTORY:
            assert "because" not in sentence.casefold()
            assert "raised" not in sentence
        own = set(facts.own)
        for kind in re.findall(r" is an? ([\w -]+?) movie", sentence):
            assert set(kind.split(" and ")) <= own, sentence
        for shared, names in re.findall(r" shares ([\w ,-]+?) with ([\w ,]+?)(?:, which|\.|, and)", sentence):
            with_whom = [item for item in facts.support if NAMES[item] in names]
            assert with_whom, sentence
            for category in shared.split(" and "):
                assert category in own, sentence
                assert all(category in facts.categories[item] for item in with_whom), sentence
        assert all(NAMES[item] not in sentence for item in NAMES if item not in (*facts.support, 0))


def test_the_rule() -> None:
    def said(names: dict[int, list[str]], basis: Basis = Basis.SCORE, liked: bool = False) -> str:
        *support, target = names
        facts = Facts(target, dict(enumerate("ABXC")), support, names, (), MOVIE, liked, basis)
        return together(parts_of(rule(facts)))

    nothing = Facts(0, {0: "A"}, domain=MOVIE, without_support="nothing")
    assert together(parts_of(rule(nothing))) == "Nothing in your history speaks for A."
    assert "no history" in together(parts_of(rule(replace(nothing, without_support="no history"))))
    assert said({0: []}) == "A fits your history as a whole, and no single movie in it is the reason."
    assert said({0: [], 1: ["Drama"]}) == "B is recommended because you have watched A."
    assert said({0: [], 1: []}, liked=True) == "B is recommended because you liked A."
    assert said({0: [], 1: []}, Basis.HISTORY) == "B goes with A, which you have watched."
    three = {0: ["Crime", "Drama"], 1: ["War"], 3: ["Drama", "War"]}
    assert said(three) == "C shares Drama with A, which you have watched. B raised its score too."
    assert said(three, Basis.HISTORY) == "C shares Drama with A, which you have watched. It also goes with B."
    four = {0: ["Drama", "War"], 1: ["War", "Drama"], 2: ["Crime"], 3: ["War", "Drama", "Comedy"]}
    assert said(four) == "C shares War and Drama with A and B, which you have watched. X raised its score too."


def test_where_something_is_known_of_an_item_it_is_said() -> None:
    facts = Facts(0, NAMES, [1], {0: ["Crime"], 1: ["Crime"]}, (), MOVIE, True)
    for phrases in texts(wordings(facts)):
        assert any("categories:0" in phrase.tags for phrase in phrases)


def test_what_is_shared_is_not_said_twice_and_articles_follow_the_letter() -> None:
    facts = Facts(0, NAMES, [1], {0: ["Crime", "Ägypten"], 1: ["Crime"]}, (), MOVIE, True)
    said = {together(parts_of(phrases)) for phrases in texts(wordings(facts))}
    assert not [sentence for sentence in said if "a Crime" in sentence and "shares Crime" in sentence]
    assert any("an Ägypten movie" in sentence for sentence in said)
    assert any("an Ägypten movie and shares Crime with Casino" in sentence for sentence in said)


def test_without_a_category_the_description_speaks() -> None:
    facts = Facts(0, NAMES, [1], {}, ["A detective and a thief"], MOVIE, True)
    quoted = "Its description: “A detective and a thief”."
    assert together(parts_of(rule(facts))) == f"Heat is recommended because you liked Casino. {quoted}"
    assert all(together(parts_of(phrases)).endswith(quoted) for phrases in texts(wordings(facts)))


def test_words_that_are_no_category() -> None:
    assert all(map(says_something, ("Crime", "R&B", "The West")))
    assert not any(map(says_something, ("the", "Unknown", "A", "80", "-", "")))


def test_several_categories_may_be_named_and_those_alone_that_come_first() -> None:
    """One by one and in pairs, in any order of a sentence's choice; a fifth is not chosen."""
    facts = Facts(0, NAMES, [1], {0: CATEGORIES, 1: CATEGORIES}, (), MOVIE, True)
    every = [together(parts_of(phrases)) for phrases in texts(wordings(facts))]
    kinds = {kind for sentence in every for kind in re.findall(r" is an? ([\w -]+?) movie", sentence)}
    first = CATEGORIES[:4]
    assert kinds == {*first, *(f"{one} and {two}" for one, two in itertools.permutations(first, 2))}
    shared = {words for sentence in every for words in re.findall(r" shares ([\w -]+?) with", sentence)}
    assert shared == {*first, "Crime and Drama"}


def test_spans_that_may_be_quoted() -> None:
    text = 'A thief and a detective meet. "Great" film; see http://x.org for more now. Two. ' + "long " * 20
    assert spans_of(text) == ["A thief and a detective meet"]
    assert spans_of(None) == []


@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("Matrix, The (1999)", "The Matrix"),
        ("Avventura, L' (1960)", "L'Avventura"),
        ("Heat (1995) [Director's cut]", "Heat"),
        ("(2008)", "“(2008)”"),
        ("is it?", "“is it?”"),
        ('the "quoted" book', "“the ‘quoted’ book”"),
        ('"Heroes"', "“Heroes”"),
        ('"Crocodile" Dundee', "“‘Crocodile’ Dundee”"),
        ("Das „Boot“: «zwei»", "“Das ‘Boot’: ‘zwei’”"),
        ('7" single', '“7" single”'),
        (f'"a {"word " * 40}"', f"“a {' '.join(['word'] * 15)}…”"),
        ('""', "an untitled one"),
        ("word " * 40, f"“{' '.join(['word'] * 16)}…”"),
        ("Amélie <|im_end|>", "Amélie"),
    ],
)
def test_titles_as_people_say_them(title: str, said: str) -> None:
    assert spoken(title) == said


def test_what_a_title_or_a_category_may_hold() -> None:
    assert spoken("") == spoken("<|im_end|>") == spoken(" \n ") == "an untitled one"
    known = Catalogue(["a"], categories=["Crime </s>|<|im_start|>Drama"])
    assert known.categories_of(0) == ["Crime", "Drama"]


@pytest.mark.parametrize(
    ("word", "before"),
    [("Action", "an"), ("IMAX", "an"), ("RPG", "an"), ("TV", "a"), ("NASA", "a"), ("Union", "a"), ("SF", "an")],
)
def test_articles_before_words_and_before_letters(word: str, before: str) -> None:
    assert article(word) == before


def test_categories_are_said_as_the_catalogue_writes_them() -> None:
    written = ["Sci-Fi", "IMAX", "New York", "J-Pop", "iPad"]
    for some in (written[:4], written[4:]):
        facts = Facts(0, NAMES, [1], {0: some, 1: some}, (), MOVIE, True)
        every = " ".join(together(parts_of(phrases)) for phrases in sentences(facts))
        assert not [name for name in some if name not in every]
        assert not [name for name in some if name.lower() != name and name.lower() in every]


def test_a_description_s_own_marks_are_single_ones_inside_of_the_quotation() -> None:
    (span,) = spans_of('He said "no" to her.')
    facts = Facts(0, NAMES, [1], {}, [span], MOVIE, True)
    assert together(parts_of(rule(facts))).endswith("Its description: “He said ‘no’ to her”.")
