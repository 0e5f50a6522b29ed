"""Reasons for items whose titles are longer than what a model reads, or than its cache is exact for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.llm.known_scores import CATEGORIES, MOVIE, Additive

from interlingua.data.queries import Queries
from interlingua.explain.explain import Catalogue, _batches, _Task, explain, explain_items
from interlingua.lm.load import hold
from interlingua.lm.phrase_writer import PhraseWriter
from interlingua.lm.phrases import NOTHING
from interlingua.testing.tiny_models import TITLES, build, tokenizer_of


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
