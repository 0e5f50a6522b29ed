from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from interlingua.contracts.scorer import Scorer
from interlingua.data.domain import Domain
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.explain.evidence import Part, content_words
from interlingua.explain.explain import Catalogue, _batches, _Task, explain, explain_items
from interlingua.explain.influence import Basis, Influence, choose_support, influences
from interlingua.explain.support import likings, named_support
from interlingua.lm.generate import generate, paper_generate, paper_hit
from interlingua.lm.load import hold
from interlingua.lm.phrase_writer import PhraseWriter
from interlingua.lm.phrases import NOTHING
from interlingua.runtime.cancel import Cancellation, Cancelled, cancellable
from interlingua.testing.tiny_models import TITLES, build, tiny, tokenizer_of

MOVIE = Domain("movie", "watch", "watched")
NAN = float("nan")
CATEGORIES = ["Action|Sci-Fi", "Animation", "Animation|Comedy", "Crime", "Crime|Drama", *["Drama"] * 7]


class Additive(Scorer):
    """Each history item adds a known weight to each candidate's score; a constant per query must not matter."""

    num_items = len(TITLES)

    def __init__(self):
        self.weights = np.random.default_rng(0).normal(size=(self.num_items, self.num_items))

    def score(self, queries, items=None):
        full = np.stack(
            [self.weights[queries.history(b)].sum(0) + 100 * len(queries.history(b)) for b in range(len(queries))]
        )
        full = full.astype(np.float32)
        return full if items is None else np.take_along_axis(full, np.asarray(items), 1)


class Fixed(Scorer):
    """A vector per known user, which no history changes; unknown users are the sum of their items."""

    num_items = len(TITLES)

    def __init__(self):
        self.table = np.random.default_rng(1).normal(size=(self.num_items, 4))
        self.users = np.random.default_rng(2).normal(size=(3, 4))

    def score(self, queries, items=None):
        rows = [self.users[u] if u >= 0 else self.table[queries.history(b)].sum(0) for b, u in enumerate(queries.users)]
        full = (np.stack(rows) @ self.table.T).astype(np.float32)
        return full if items is None else np.take_along_axis(full, np.asarray(items), 1)


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


def test_ratings_travel_with_histories():
    query = Queries(np.arange(2), np.array([4, 5, 6]), np.array([0, 2, 3]), np.array([1.0, 2.0, 3.0], np.float32))
    assert query.take(np.array([1, 0])).history_ratings(1).tolist() == [1.0, 2.0]
    assert query.slice(1, 2).history_ratings(0).tolist() == [3.0]
    assert np.isnan(Queries.of([[1, 2]]).history_ratings(0)).all()


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


def words(number, count=60):
    """A title of so many words."""
    return " ".join(f"w{number}x{n}" for n in range(count))


@pytest.mark.parametrize("cache", [True, False])
def test_where_titles_are_longer_than_what_a_model_reads_the_rule_speaks_of_them_alone(cache):
    """GPT-2 has a table of positions: whatever lies behind its end is an IndexError."""
    lm = hold(build("gpt2", n_positions=240), tokenizer_of())
    if not cache:
        lm = replace(lm, abilities=replace(lm.abilities, cache=0))
    titles = [words(n) if n == 0 else title for n, title in enumerate(TITLES)]
    query = Queries.of([[1, 3, 4]])
    long, other = explain_items(Additive(), lm, query, [0, 2], Catalogue(titles, MOVIE, CATEGORIES))
    assert long.from_template
    assert not other.from_template
    assert other == explain(Additive(), lm, query, 2, titles, MOVIE, CATEGORIES)


def test_a_prompt_shows_the_beginning_of_titles_that_are_too_long_for_it(monkeypatch):
    """And what is said is whole."""
    lm, read = hold(build("gpt2", n_positions=400), tokenizer_of()), []
    write = PhraseWriter.write

    def spied(self, embeds, mask, wordings):
        read.append(embeds[mask.bool()])
        return write(self, embeds, mask, wordings)

    monkeypatch.setattr(PhraseWriter, "write", spied)
    titles = [words(n, 14) for n in range(12)]
    query = Queries.of([[1, 3, 4]])
    answer = explain(Additive(), lm, query, 0, titles, MOVIE)
    explain(Additive(), lm, query, 0, [title[:60] for title in titles], MOVIE)
    assert torch.equal(*read)
    assert not answer.from_template
    assert titles[0] in answer.sentence


def test_reasons_that_fit_alone_and_not_together_are_written_apart():
    def sizes(*pairs):
        tasks = [_Task(n, [0] * prompt, NOTHING, room) for n, (prompt, room) in enumerate(pairs)]
        return [[task.number for task in some] for some in _batches(tasks, 100)]

    assert sizes((60, 40), (50, 40), (10, 41), (59, 41)) == [[0, 1], [2, 3]]
    assert sizes((90, 10), (10, 90), (10, 10)) == [[0], [1, 2]]
    assert sizes(*[(1, 1)] * 20) == [list(range(16)), list(range(16, 20))]
    assert sizes() == []


def test_beyond_the_length_to_which_a_cache_is_exact_prompts_are_read_again(monkeypatch):
    """However long the titles: whatever is read from the cache ends before."""
    whole, lengths = hold(build("llama", max_position_embeddings=2048), tokenizer_of()), [0]
    forward = type(whole).forward

    def spied(self, embeds, mask=None, *, cache=None, **more):
        if cache is not None:
            lengths.append(cache.get_seq_length() + embeds.shape[1])
        return forward(self, embeds, mask, cache=cache, **more)

    monkeypatch.setattr(type(whole), "forward", spied)
    quoted = ["A hacker learns what is real"] * 12  # so the titles before it are read
    known, query = Catalogue([words(n, 40) for n in range(12)], MOVIE, None, quoted), Queries.of([[1, 3, 4]])
    expected = explain_items(Additive(), whole, query, [0], known)
    longest = max(lengths)
    lengths[1:] = []
    short = replace(whole, abilities=replace(whole.abilities, cache=longest - 1))
    assert explain_items(Additive(), short, query, [0], known) == expected
    assert max(lengths) < longest


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


def test_generation_equals_transformers(llama):
    """One prompt at a time there: in a padded batch transformers 5.23 penalises other tokens than alone."""
    ids = torch.tensor([[9, 10, 11, 12, 13], [0, 0, 20, 21, 22]])
    mask = (ids > 0).long()
    for penalty in (1.0, 1.5):
        expected = []
        for row in range(2):
            alone = llama.embed(ids[row][mask[row].bool()])[None]
            out = llama.model.generate(
                inputs_embeds=alone, max_new_tokens=12, do_sample=False, repetition_penalty=penalty,
                attention_mask=torch.ones(alone.shape[:2]), pad_token_id=0, eos_token_id=2,
            )[0].tolist()  # fmt: skip
            expected.append(out[: out.index(2)] if 2 in out else out)
        assert generate(llama, llama.embed(ids), mask, max_new_tokens=12, repetition_penalty=penalty) == expected


def test_generation_stops_when_told(llama):
    ids = torch.tensor([[9, 10, 11]])
    out = generate(llama, llama.embed(ids), torch.ones_like(ids), max_new_tokens=9, stop=lambda t: len(t) == 4)
    assert len(out[0]) == 4
    assert isinstance(paper_generate(llama, llama.embed(ids), torch.ones_like(ids), max_length=8)[0], str)


@pytest.mark.parametrize(
    ("output", "title", "hit"),
    [
        (' "Heat"', "Heat", True),
        (' "heat wave"', "Heat", True),
        (' "Alien", "Heat"', "Heat", True),
        (" Heat", "Heat", False),
        (' "Heat', "Heat", False),
        (' "Alien"\n"Heat"', "Heat", False),
        (' "Heat"', "Heat wave", False),
        (' "Line one and"', "Line one\nand two", True),
    ],
)
def test_the_authors_verdict_with_its_quirks(output, title, hit):
    assert paper_hit(output, title) is hit
