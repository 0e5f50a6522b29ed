"""A model that writes along phrases: nothing else, greedily, together as alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interlingua.lm.continuation import Continuation
from interlingua.lm.phrase_writer import PhraseWriter
from interlingua.lm.phrases import NOTHING, Phrase, Wording, either, longest, maybe, row, texts
from interlingua.testing.tiny_models import tiny

WORDS = st.sampled_from([" the", " Heat", " a", " and", " The Matrix", " b c", "."]).map(Phrase)
WORDINGS: Any = st.recursive(
    WORDS,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: either(*parts))
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: row(*parts))
    ),
    max_leaves=8,
)


def prompts(lm: Any, *sequences: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, sequences))
    ids = torch.tensor([[0] * (longest - len(s)) + s for s in sequences])
    mask = torch.tensor([[0] * (longest - len(s)) + [1] * len(s) for s in sequences])
    return lm.embed(ids), mask


def tokens(lm: Any, text: tuple[Phrase, ...]) -> list[int]:
    return [i for phrase in text for i in lm.tokenizer(phrase.text, add_special_tokens=False)["input_ids"]]


@torch.no_grad()
def by_hand(lm: Any, prompt: list[int], wording: Wording) -> list[int]:
    """Every text is known; at each step all is read anew, and tokens that no text goes on with are crossed out."""
    sequences, written = [tokens(lm, text) for text in texts(wording)], []
    while True:
        going = [s for s in sequences if s[: len(written)] == written]
        open_ = sorted({s[len(written)] for s in going if len(s) > len(written)})
        ends = any(len(s) == len(written) for s in going)
        if not open_:
            return written
        logits = lm.model(input_ids=torch.tensor([prompt + written])).logits[0, -1]
        best = max(open_, key=lambda token: float(logits[token]))
        if ends and float(logits[lm.eos_token_id]) > float(logits[best]):
            return written
        written = [*written, best]


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDINGS, min_size=1, max_size=3), st.integers(1, 5))
def test_the_likeliest_open_token_is_written_together_as_alone(wordings: list[Wording], length: int) -> None:
    lm = tiny("llama")
    asked = [list(range(5 + n, 5 + n + length + 2 * n)) for n in range(len(wordings))]
    together = PhraseWriter(lm).write(*prompts(lm, *asked), wordings)
    for prompt, wording, found in zip(asked, wordings, together, strict=True):
        assert tokens(lm, found) == by_hand(lm, prompt, wording)
        assert found in set(texts(wording))


@pytest.mark.parametrize("cache", [True, False])
def test_what_is_forced_is_not_asked_for(cache: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One question for one choice, however long the title; with and without an exact cache."""
    lm = tiny("llama")
    if not cache:
        lm = replace(lm, abilities=replace(lm.abilities, cache=0))
    asked: list[int] = []
    whole = type(lm).logits
    monkeypatch.setattr(type(lm), "logits", lambda self, states: asked.append(len(states)) or whole(self, states))
    wording = row(
        Phrase(" you"), Phrase(" The Matrix Reloaded (2003)"), either(Phrase(" a"), Phrase(" b")), Phrase(".")
    )
    (found,) = PhraseWriter(lm).write(*prompts(lm, [5, 6, 7]), [wording])
    assert asked == [1]
    assert tokens(lm, found) == by_hand(lm, [5, 6, 7], wording)


def test_wordings() -> None:
    a, b, c = Phrase("a"), Phrase("b", ("x",)), Phrase("c")
    assert set(texts(row(a, maybe(b), either(c, NOTHING)))) == {(a,), (a, b), (a, c), (a, b, c)}
    assert list(texts(either())) == []
    with pytest.raises(ValueError, match="character"):
        Phrase("")
    lm = tiny("llama")
    assert PhraseWriter(lm).write(*prompts(lm, [5]), [either()]) == [()]


@given(WORDINGS)
def test_the_room_is_that_of_the_longest_text(wording: Wording) -> None:
    lm = tiny("llama")
    every = list(texts(wording))
    assert longest(wording, len) == max(sum(len(phrase.text) for phrase in text) for text in every)
    assert PhraseWriter(lm).room(wording) == max(len(tokens(lm, text)) for text in every)
    assert longest(either(), len) == longest(NOTHING, len) == 0


def test_a_mark_in_a_phrase_is_written_as_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, read = tiny("llama"), []
    add = Continuation.add
    monkeypatch.setattr(
        Continuation, "add", lambda self, ids, rows: read.extend(ids.flatten().tolist()) or add(self, ids, rows)
    )
    PhraseWriter(lm).write(*prompts(lm, [5]), [row(Phrase("</s><pad>"), either(Phrase(" a"), Phrase(" b")))])
    assert lm.tokenizer("</s>", add_special_tokens=False)["input_ids"] == [lm.eos_token_id]
    assert not {0, 1, 2} & set(read)
    assert lm.tokenizer.decode(read).startswith("</s><pad>")
