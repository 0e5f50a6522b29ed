from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import TITLES, tiny

from interlingua.core import Domain, Queries
from interlingua.errors import ConfigError
from interlingua.llm import explain as explaining
from interlingua.llm.explain import choose_support, explain, influences, rule_sentence
from interlingua.llm.generate import generate, paper_generate, paper_hit

MOVIE = Domain("movie", "watch", "watched")
CATEGORIES = ["Action|Sci-Fi", "Animation", "Animation|Comedy", "Crime", "Crime|Drama", *["Drama"] * 7]


class Additive:
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


def test_influence_is_the_fall_of_the_score_without_the_item():
    ranker, history, item = Additive(), np.array([1, 5, 7]), 3
    got = influences(ranker, history, item)
    others = [i for i in range(ranker.num_items) if i not in (1, 5, 7, 3)]
    expected = [ranker.weights[h, item] - ranker.weights[h, others].mean() for h in history]
    np.testing.assert_allclose(got, expected, atol=1e-3)
    assert influences(ranker, np.array([], np.int64), item) == []


def test_support_is_what_raised_the_score():
    assert choose_support(np.array([4, 5, 6, 7]), [0.5, -1.0, 2.0, 0.1]) == [(6, 2.0), (4, 0.5)]
    assert choose_support(np.array([4, 5]), [-0.5, float("nan")]) == []
    assert choose_support(np.array([4, 4, 5]), [0.5, 0.7, 0.6]) == [(4, 0.7), (5, 0.6)]
    assert len(choose_support(np.arange(9), [1.0] * 9)) == 3


def test_the_rule_uses_nothing_but_the_evidence():
    assert rule_sentence(["Heat"], ["Crime"], MOVIE).startswith("Heat fits the history as a whole; no single movie")
    assert rule_sentence(["A", "B"], ["", "Drama"], MOVIE) == "B is recommended because you have watched A."
    assert (
        rule_sentence(["A", "B", "C"], ["Crime, Drama", "War", "Drama, War"], MOVIE)
        == "C shares Drama with A, which you have watched. B raised its score too."
    )


def test_the_rule_names_those_that_share_and_no_others():
    about = ["Drama, War", "War, Drama", "Crime", "War, Drama, Comedy"]
    assert rule_sentence(["A", "B", "X", "C"], about, MOVIE) == (
        "C shares War and Drama with A and B, which you have watched. X raised its score too."
    )


@pytest.fixture
def saying(monkeypatch):
    def set_answer(text):
        monkeypatch.setattr(explaining, "_continue", lambda *_: text)

    return set_answer


def ask(item=0, history=(1, 3, 4)):
    return explain(Additive(), tiny("llama"), Queries.of([list(history)]), item, TITLES, MOVIE, CATEGORIES)


def test_a_true_sentence_is_shown(saying):
    saying("'s a bold sci-fi film. And it moves.")
    answer = ask()
    assert answer.sentence.endswith("The Matrix: it's a bold sci-fi film. And it moves.")
    assert (answer.dropped, answer.counted, answer.from_template) == (0, 2, False)
    assert answer.support == choose_support(np.array([1, 3, 4]), influences(Additive(), np.array([1, 3, 4]), 0))


def test_a_second_sentence_with_a_foreign_title_is_dropped(saying):
    saying("'s a bold film. It is like Amélie.")
    answer = ask()
    assert "Amélie" not in answer.sentence
    assert (answer.dropped, answer.counted, answer.from_template) == (1, 2, False)
    assert any("Amélie" in o for o in answer.objections)


@pytest.mark.parametrize(
    "text", [" is like Amélie.", "'s by Stanley Kubrick.", "'s a horror animation.", " has no end", "."]
)
def test_if_nothing_survives_the_rule_speaks_and_says_so(saying, text):
    saying(text)
    answer = ask()
    assert answer.from_template
    assert answer.dropped == answer.counted
    assert "The Matrix" in answer.sentence
    assert "Amélie" not in answer.sentence


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
