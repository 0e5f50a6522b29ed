"""Why an item is recommended: the history items that mattered, and a sentence that cannot say what is not known.

The support is measured, not told (:mod:`interlingua.explain.influence`). The sentence is one of those that the evidence
allows (:mod:`interlingua.explain.wording`): a language model chooses among them word by word and can write no other
(:mod:`interlingua.lm.phrase_writer`), or a rule chooses. Every content word carries the id of what it was taken from.
Deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import torch

from interlingua.contracts.scorer import Scorer
from interlingua.data.catalogue import split_categories
from interlingua.data.domain import Domain
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.explain.evidence import Evidence, Part, content_words, says_something, spans_of, together
from interlingua.explain.influence import LEAST_SHARE, Basis, Influence, Sought, choose_support, influences
from interlingua.explain.spoken import plain, spoken
from interlingua.explain.support import LEAST_OF_BEST, named_support
from interlingua.explain.wording import Facts, rule, wordings
from interlingua.lm.models import LanguageModel
from interlingua.lm.phrase_writer import PhraseWriter
from interlingua.lm.phrases import Phrase, Wording
from interlingua.lm.template import Template
from interlingua.runtime import cancel

S = TypeVar("S")
Speaker = LanguageModel | Callable[[], LanguageModel | None] | None
"""what words the reasons: a model, what loads it if it is needed at all, or nobody (None): the rule"""
AT_ONCE = 16
"""reasons that a model words in one batch"""
SHORT = 60
"""characters of a title, and of its categories, in a prompt that is too long for the model with the whole ones"""


@dataclass(frozen=True)
class Explanation(Generic[S]):
    """A reason for one recommendation."""

    sentence: str
    """one or two sentences that say nothing beyond the evidence"""
    support: list[S]
    """history items that raised the score, most influential first: (item index, fall of the score without it), or what
    :class:`interlingua.recommender.Support` makes of them"""
    from_template: bool = False
    """True: worded by the rule, not by a language model"""
    liked: bool = False
    """True: the user rated every item of the support at or above his own mean; without ratings nobody knows"""
    basis: Basis = Basis.SCORE
    """what the influences were measured on: the score that recommended, or a stand-in made from the history alone, for
    models that keep one vector per known user and read no history"""
    parts: list[Part] = field(default_factory=list)
    """the sentence in pieces, each with the ids of its evidence"""
    evidence: list[Evidence] = field(default_factory=list)
    """what the ids stand for, of those that the sentence names; items are indices, or external ids"""

    @property
    def held(self) -> float:
        """The fraction of the sentence's content words that carry evidence: 1.0 by construction, and measured here."""
        claims, held = content_words(self.parts)
        return held / claims if claims else 1.0


@dataclass(frozen=True)
class Catalogue:
    """Known facts about the items."""

    titles: Sequence[str]
    """(I,)"""
    domain: Domain = Domain()
    categories: Sequence[str | None] | None = None
    """(I,) ``A|B`` or ``A, B``; reasons are much better with them"""
    descriptions: Sequence[str | None] | None = None
    """(I,) short sentences of them may be quoted"""
    middle: float | None = None
    """of the scale of ratings: what a user rated lower is never called liked"""

    def categories_of(self, item: int) -> list[str]:
        """An item's first categories."""
        found = self.categories[item] if self.categories is not None else None
        return [each for each in split_categories(plain(found or "")) if says_something(each)][:5]


def explain(
    scorer: Scorer,
    lm: Speaker,
    query: Queries,
    item: int,
    titles: Sequence[str],
    domain: Domain | None = None,
    categories: Sequence[str | None] | None = None,
    *,
    template: Template | str = "explain",
    max_history: int = 20,
) -> Explanation[tuple[int, float]]:
    """Why ``item`` fits the one user of ``query``: :func:`explain_items` for one item."""
    known = Catalogue(titles, domain or Domain(), categories)
    return explain_items(scorer, lm, query, [item], known, template=template, max_history=max_history)[0]


def explain_items(
    scorer: Scorer,
    lm: Speaker,
    query: Queries,
    items: Sequence[int],
    known: Catalogue,
    *,
    template: Template | str = "explain",
    max_history: int = 20,
    sought: Sought | None = None,
) -> list[Explanation[tuple[int, float]]]:
    """Why each of some items fits the one user of ``query``; influences and wordings of all are made in one go.

    Args:
        scorer: whose recommendations they are (ranker, backbone).
        lm: chooses the words; an instruction-tuned model is best. None: the rule does.
        query: exactly one query; its ratings, where there are any, say what may be called liked.
        items: indices of the recommended items.
        known: titles, words, categories, descriptions.
        template: the prompt.
        max_history: the last so many different history items are considered.
        sought: what was asked for in words; ``scorer`` reads it. Then the rule words the reasons.

    Raises:
        ConfigError: not exactly one query, or an item index out of range.
    """
    if len(query) != 1:
        raise ConfigError(f"explain answers for one user at a time, got {len(query)}")
    for item in items:
        if not 0 <= item < len(known.titles):
            raise ConfigError(f"item index {item} is not among the catalogue's {len(known.titles)}")
    measured = influences(scorer, query, items, max_history)
    found = [
        _facts(query, item, influence, known, sought, 0.0 if sought is None else sought.raised[place])
        for place, (item, influence) in enumerate(zip(items, measured, strict=True))
    ]
    # of nothing, or of a stand-in's reason, a model would make up a "because"
    worded = [
        n for n, (facts, _) in enumerate(found) if facts.support and facts.basis == Basis.SCORE and sought is None
    ]
    said: dict[int, tuple[Phrase, ...]] = {}
    cancel.check()
    speaker: LanguageModel | None = None
    if worded and not cancel.pressed():  # in a request whose time is half over, the rule speaks
        speaker = lm if lm is None or isinstance(lm, LanguageModel) else lm()
    if speaker is not None:
        prompt = Template.load(template) if isinstance(template, str) else template
        said = dict(zip(worded, _written(speaker, prompt, [found[n][0] for n in worded]), strict=True))
    return [_explanation(facts, support, said.get(n)) for n, (facts, support) in enumerate(found)]


def _facts(
    query: Queries, item: int, influence: Influence, known: Catalogue, sought: Sought | None, raised: float
) -> tuple[Facts, list[tuple[int, float]]]:
    """Facts for the reason of one item, and its support."""
    whole = np.asarray(query.history(0), np.int64)
    said = {row: spoken(known.titles[row]) for row in {*influence.items, item}}
    found = [(row, fall) for row, fall in choose_support(influence) if row != item]  # nothing is a reason for itself
    found = [(row, fall) for row, fall in found if fall >= LEAST_OF_BEST * raised]
    support, liked = named_support(found, whole, query.history_ratings(0), known.middle)
    first = {said[row].casefold(): row for row, _ in reversed(support)}
    support = [(row, fall) for row, fall in support if first[said[row].casefold()] == row]  # each title once
    by_words = raised > LEAST_SHARE and raised >= LEAST_OF_BEST * max((fall for _, fall in support), default=0.0)
    items = [row for row, _ in support]
    spans = spans_of(known.descriptions[item]) if known.descriptions is not None else []
    named = (*items, item)
    facts = Facts(
        item, {row: said[row] for row in named}, items,
        {row: known.categories_of(row) for row in named}, spans, known.domain, liked, influence.basis,
        "whole" if influence.speaks else "nothing" if len(whole) else "no history",
        frozenset(row for row in items if said[row].casefold() == said[item].casefold()),
        None if sought is None else sought.text, by_words,
    )  # fmt: skip
    return facts, support


def _explanation(
    facts: Facts, support: list[tuple[int, float]], said: tuple[Phrase, ...] | None
) -> Explanation[tuple[int, float]]:
    parts = [Part(phrase.text, phrase.tags) for phrase in said or rule(facts)]
    named = {name for part in parts for name in part.evidence}
    evidence = [each for each in facts.evidence() if each.id in named]
    return Explanation(together(parts), support, not said, facts.liked, facts.basis, parts, evidence)


@dataclass(frozen=True)
class _Task:
    """What a model is asked for one reason."""

    number: int
    ids: list[int]
    """of the prompt"""
    wording: Wording
    room: int
    """tokens of its longest text"""


@torch.no_grad()
def _written(lm: LanguageModel, template: Template, facts: Sequence[Facts]) -> list[tuple[Phrase, ...]]:
    """A language model's choice for each; nothing where prompt and reason are longer than what the model reads."""
    said: list[tuple[Phrase, ...]] = [() for _ in facts]
    writer, tasks = PhraseWriter(lm), []
    for number, each in enumerate(facts):
        wording = wordings(each)
        room = writer.room(wording)
        prompts = (_prompt(lm, template, each, most) for most in (None, SHORT))
        ids = next((ids for ids in prompts if len(ids) + room <= lm.max_positions), None)
        if ids is not None:
            tasks.append(_Task(number, ids, wording, room))
    for some in _batches(tasks, lm.max_positions):
        most = max(len(task.ids) for task in some)
        padded = torch.tensor([[lm.pad_token_id] * (most - len(task.ids)) + task.ids for task in some])
        mask = torch.tensor([[0] * (most - len(task.ids)) + [1] * len(task.ids) for task in some])
        written = writer.write(lm.embed(padded), mask, [task.wording for task in some])
        for task, phrases in zip(some, written, strict=True):
            said[task.number] = phrases
    return said


def _batches(tasks: Sequence[_Task], positions: int) -> list[list[_Task]]:
    """At most :data:`AT_ONCE` at a time, whose longest prompt and longest text fit into the positions together."""
    batches: list[list[_Task]] = []
    for task in tasks:
        some = [*batches[-1], task] if batches else [task]
        fits = max(len(each.ids) for each in some) + max(each.room for each in some) <= positions
        if batches and fits and len(some) <= AT_ONCE:
            batches[-1] = some
        else:
            batches.append([task])
    return batches


def _prompt(lm: LanguageModel, template: Template, facts: Facts, most: int | None = None) -> list[int]:
    """Token ids of the question; ``most``: characters of a title that are shown."""
    entries = [
        {"title": facts.names[item][:most], "about": ", ".join(facts.categories.get(item, ()))[:most]}
        for item in (*facts.support, facts.target)
    ]
    words = Domain(facts.domain.noun, facts.domain.verb, facts.had)
    text = template.render(
        words, {"history": entries[:-1], "target": entries[-1:]}, getattr(lm.tokenizer, "apply_chat_template", None)
    )
    ids = [int(i) for i in lm.tokenizer(text, add_special_tokens=False)["input_ids"]]
    return [lm.bos_token_id, *ids] if lm.bos_token_id is not None and ids[:1] != [lm.bos_token_id] else ids
