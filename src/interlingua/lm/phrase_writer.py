"""A language model writes along phrases (:mod:`interlingua.lm.phrases`): greedy, token by token, a batch at a time.

At each step only tokens are open that go on with a phrase which may stand there, so nothing else can be written. Where
one token alone is open it is not asked for: such runs (titles, mostly) are read in one go.

Shape key: B texts, T prompt tokens, H input width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from interlingua.lm.continuation import Continuation
from interlingua.lm.models import LanguageModel
from interlingua.lm.phrases import Phrase, Rest, Wording, longest, next_phrases


@dataclass(frozen=True)
class _Place:
    """One reading of the tokens so far."""

    done: tuple[Phrase, ...]
    """whole phrases, the one at hand included"""
    ids: tuple[int, ...]
    """tokens of the phrase at hand that are still to come; none: the text may end here"""
    rest: Rest


@dataclass
class _Text:
    """An unfinished text."""

    places: list[_Place]
    ended: tuple[Phrase, ...] | None = None
    pending: list[int] = field(default_factory=list)
    """tokens that are decided and that the model has not read"""


class PhraseWriter:
    """Writes with one model."""

    def __init__(self, lm: LanguageModel) -> None:
        self._lm = lm

    def room(self, wording: Wording) -> int:
        """Tokens of the longest text that a wording allows. With its prompt it must fit into the model's positions."""
        return longest(wording, lambda text: len(self._tokens(text)))

    @torch.no_grad()
    def write(self, embeds: Tensor, mask: Tensor, wordings: Sequence[Wording]) -> list[tuple[Phrase, ...]]:
        """The most probable next token among the open ones, until each text is over. Deterministic.

        Args:
            embeds: (B, T, H) prompts.
            mask: (B, T) 1 at tokens, either padding side.
            wordings: B wordings.

        Returns:
            B texts as their phrases in order; an empty one where nothing may be written.
        """
        texts = [_Text(self._places((), (wording,))) for wording in wordings]
        for text in texts:
            self._forced(text)
        reading = Continuation(self._lm, embeds, mask, max(map(self.room, wordings), default=0))
        alive = list(range(len(texts)))  # the texts of the rows that are being read
        while True:
            asking = [n for n, number in enumerate(alive) if texts[number].ended is None]
            asking = [n for n in asking if not texts[alive[n]].pending]
            if asking:
                logits = self._lm.logits(reading.state[torch.tensor(asking, device=reading.state.device)])
                for values, n in zip(logits, asking, strict=True):
                    self._choose(texts[alive[n]], values)
                    self._forced(texts[alive[n]])
            going = [n for n, number in enumerate(alive) if texts[number].ended is None]
            if not going:
                return [text.ended or () for text in texts]
            alive = [alive[n] for n in going]
            size = min(len(texts[number].pending) for number in alive)
            reading.add(torch.tensor([texts[number].pending[:size] for number in alive]), torch.tensor(going))
            for number in alive:
                del texts[number].pending[:size]

    def _choose(self, text: _Text, logits: Tensor) -> None:
        """The open token that the model finds likeliest; of equal ones the first in the wording."""
        ends = [place for place in text.places if not place.ids]
        tokens = list(dict.fromkeys(place.ids[0] for place in text.places if place.ids))
        values = logits[tokens]
        best = int(values.argmax())
        if ends and float(logits[self._lm.eos_token_id]) > float(values[best]):
            text.ended = ends[0].done
        else:
            self._take(text, tokens[best])

    def _forced(self, text: _Text) -> None:
        """Takes tokens as long as there is no choice."""
        while text.ended is None:
            tokens = {place.ids[0] for place in text.places if place.ids}
            ends = [place for place in text.places if not place.ids]
            if not tokens:
                text.ended = ends[0].done if ends else ()
            elif len(tokens) > 1 or ends:
                return
            else:
                self._take(text, tokens.pop())

    def _take(self, text: _Text, token: int) -> None:
        text.pending.append(token)
        going = [place for place in text.places if place.ids and place.ids[0] == token]
        text.places = [
            after
            for place in going
            for after in (
                [_Place(place.done, place.ids[1:], place.rest)]
                if len(place.ids) > 1
                else self._places(place.done, place.rest)
            )
        ]

    def _places(self, done: tuple[Phrase, ...], rest: Rest) -> list[_Place]:
        """Possible readings of a text after ``done``, with ``rest`` still to come."""
        return [
            _Place(done, (), ()) if phrase is None else _Place((*done, phrase), self._tokens(phrase.text), behind)
            for phrase, behind in next_phrases(rest)
        ]

    def _tokens(self, text: str) -> tuple[int, ...]:
        return _ids(self._lm.tokenizer, text)


@lru_cache(maxsize=10_000)
def _ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Token ids of a phrase, whose own words are never read as marks. Most are asked for again and again."""
    found = tokenizer([text], add_special_tokens=False, split_special_tokens=True)["input_ids"][0]
    return tuple(int(i) for i in found)
