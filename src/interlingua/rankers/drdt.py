"""DRDT: a chat model thinks about a user's history by aspects, checks itself on its last items, and orders candidates.

Wang et al., "DRDT: Dynamic Reflection with Divergent Thinking for LLM-based Sequential Recommendation", arXiv
2312.11336; the authors' code, YuWang-1024/DRDT. Nothing is trained. For each user:

1. Collaborative demonstration: another user's training sequence up to an event of this user's last item; the event
   behind it is the answer, among drawn candidates. It stands in the system message.
2. Divergent thinking: the history without its last k items is described by aspects.
3. k reflections: which of two items comes next, a true and a drawn one; then the truth, and the description anew.
4. The order of the candidates.

Every question has the whole conversation before it: 2 k + 2 calls for a user. How they are asked, and what counts as an
order: :mod:`interlingua.rankers._asked`.

Shape key: B queries, C candidates, k reflections.

**Deviations:**
- The order is read by numbers or whole titles (the authors take the first title of the catalogue that a line contains:
  a short title inside a longer one counts there).
- One demonstration, the first in the order of users (the authors keep three and use one). Users that ask are never
  their own; where nobody else had the item, the first sequence of another user serves (the authors: the first key).
- A history of n items has at most n - 1 reflections; without a history nothing is asked and the backbone's order stays.
- A conversation in which an answer is missing ends, and its user keeps the backbone's order.
- The wording is our own, and aspects that are not named are the catalogue's columns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pydantic import Field

from interlingua.clients.answers import THOUGHT, UnusableAnswerError
from interlingua.clients.completion import Answer, Request
from interlingua.contracts.ranker import RankerInputs
from interlingua.data.queries import Queries
from interlingua.lm import reflection
from interlingua.rankers._asked import AskedOptions, AskedRanker
from interlingua.rankers._orders import FIELD, HOW, checked, chosen, written
from interlingua.training.demonstrations import NextEvents, other_items

ASPECTS = ("kind", "style", "mood")
"""of a catalogue without columns of its own"""


class DrdtConfig(AskedOptions):
    """Options of :class:`Drdt`."""

    reflections: int = Field(default=3, ge=0)
    """k, items of the history's end on which the model checks itself (authors' example: 3)"""
    aspects: tuple[str, ...] = ()
    """in what respects the preference is described (paper, films: category, actor, mood); empty: the catalogue's
    columns"""
    demonstration: bool = True
    """another user's history with its answer stands in the system message; False: the control without it"""
    demonstration_candidates: int = Field(default=20, ge=2)
    """candidates of the demonstration, its answer among them (paper: 20)"""
    history_length: int = Field(default=50, ge=1)
    """items of the history in the conversation, the last ones (paper: 50)"""


class Drdt(AskedRanker):
    """A conversation per query; its last answer is an order of the candidates."""

    Config = DrdtConfig
    version = 2
    name = "drdt"
    lenient = True

    def __init__(self, config: DrdtConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        columns = tuple(name.replace("_", " ") for name in inputs.columns)
        self.aspects = tuple(config.aspects) or columns or ASPECTS
        self.demonstrations = NextEvents(inputs.train)

    def named(self, queries: Queries, orders: Sequence[list[int]]) -> list[list[int]]:
        """Thoughts and reflections of all queries, step by step, then the orders (see :class:`AskedRanker`)."""
        talks = [self._talk(queries, at) for at in range(len(queries))]
        for step in range(max((len(talk.questions) for talk in talks), default=0)):
            open_talks = [talk for talk in talks if talk.whole and step < len(talk.questions)]
            answers = self.answers([talk.request(talk.questions[step]) for talk in open_talks], thought)
            for talk, answer in zip(open_talks, answers, strict=True):
                talk.goes_on(talk.questions[step], answer)
        form = self.config.answers
        last = [at for at, talk in enumerate(talks) if talk.whole]
        requests = [talks[at].request(self._ranking(orders[at]), FIELD) for at in last]
        out: list[list[int]] = [[] for _ in talks]
        for at, answer in zip(last, self.answers(requests, lambda answer: checked(answer, form)), strict=True):
            out[at] = [] if answer is None else chosen(answer, orders[at], self.shown, form)
        return out

    def _ranking(self, candidates: Sequence[int]) -> str:
        how = HOW[self.config.answers]
        return reflection.ranking(self.inputs.domain, [self.shown[item] for item in candidates], how)

    def _talk(self, queries: Queries, at: int) -> Talk:
        """A query's questions but the last one; none, and no conversation, for an empty history."""
        config: DrdtConfig = self.config
        domain, history = self.inputs.domain, queries.history(at)[-config.history_length :].tolist()
        if not history:
            return Talk("", [], whole=False)
        held = min(config.reflections, len(history) - 1)
        seen = history[: len(history) - held]
        questions = [reflection.thinking(domain, [self.shown[item] for item in seen], self.aspects)]
        generator = np.random.default_rng([int(item) for item in history])
        for item in history[len(seen) :]:
            other = other_items(generator, self.num_items - self.inputs.added, set(history), 1)
            if not other:
                break
            first = bool(generator.integers(2))
            probe = reflection.Probe(self.shown[item], self.shown[other[0]], first)
            questions += [reflection.probing(domain, probe), reflection.critique(domain, probe, self.aspects)]
        return Talk(reflection.role(domain, self._example(int(queries.users[at]), history[-1])), questions)

    def _example(self, user: int, item: int) -> reflection.Example | None:
        """Another user's training sequence up to ``item``, with the event behind it as its answer."""
        config: DrdtConfig = self.config
        found = self.demonstrations.after(item, user) if config.demonstration else None
        if found is None:
            return None
        history, answer = found
        generator = np.random.default_rng([item, answer, len(history)])
        learned = self.num_items - self.inputs.added
        negatives = other_items(generator, learned, {*history.tolist(), answer}, config.demonstration_candidates - 1)
        listed = generator.permutation([answer, *negatives]).tolist()
        return reflection.Example(
            [self.shown[each] for each in history[-config.history_length :].tolist()],
            [self.shown[each] for each in listed],
            written([answer, *negatives], listed, self.shown, config.answers),
        )


@dataclass
class Talk:
    """A conversation as far as it has come."""

    system: str
    questions: list[str]
    """the steps before the last question, in their order"""
    earlier: list[tuple[str, str]] = field(default_factory=list)
    whole: bool = True
    """False: an answer is missing, and nothing more is asked"""

    def request(self, question: str, *fields: str) -> Request:
        """The next question with all before it."""
        return Request(self.system, question, fields, earlier=tuple(self.earlier))

    def goes_on(self, question: str, answer: str | None) -> None:
        """Takes an answer in."""
        self.whole = answer is not None
        if answer is not None:
            self.earlier.append((question, answer))


def thought(answer: Answer) -> bytes:
    """The form in which the ledger keeps a free answer: its text as JSON, without a block of thinking before it.

    Raises:
        UnusableAnswerError: it says nothing.
    """
    text = THOUGHT.split(answer.text)[-1].strip()
    if not text:
        raise UnusableAnswerError("an empty answer")
    return json.dumps(text, ensure_ascii=False).encode()
