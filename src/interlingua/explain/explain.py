"""Why an item is recommended: the history items that mattered, and a sentence that a language model makes of them.

The support is measured, not told (:mod:`interlingua.explain.influence`). The sentence is checked
(:mod:`interlingua.explain.facts`): a word that the evidence does not hold ends it, and it is dropped and counted. If
nothing survives, a sentence made from the evidence alone is shown and marked as such
(:mod:`interlingua.explain.reasons`). Deterministic.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
import torch

from interlingua.contracts.scorer import Scorer
from interlingua.data.catalogue import split_categories
from interlingua.data.domain import Domain
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.explain.facts import Evidence, TitleMatcher, hopeless, objections, sentences, spoken
from interlingua.explain.influence import Basis, Influence, choose_support, influences
from interlingua.explain.reasons import named_support, rule_sentence, wording
from interlingua.lm.generate import generate
from interlingua.lm.models import LanguageModel
from interlingua.lm.template import Template
from interlingua.runtime import cancel

MOST_ATTEMPTS = 2
"""prompts that are tried for one reason: each costs a reading of the evidence"""
LEAST_WORDS = 4
"""a reason with fewer words of the model's own says nothing"""


S = TypeVar("S")
Writer = LanguageModel | Callable[[], LanguageModel | None] | None
"""a model that says sentences, or a function that loads it where one is needed; None: a rule makes them"""


@dataclass(frozen=True)
class Explanation(Generic[S]):
    """A reason for one recommendation."""

    sentence: str
    """one or two sentences that say nothing beyond the evidence"""
    support: list[S]
    """history items that raised the score, most influential first: (item index, fall of the score without it), or what
    :class:`interlingua.recommender.Support` makes of them"""
    dropped: int = 0
    """generated sentences that were not shown"""
    counted: int = 0
    """generated sentences in all"""
    from_template: bool = False
    """True: no generated sentence survived; the sentence is made from the evidence by a rule"""
    objections: list[str] = field(default_factory=list)
    """what was wrong with the dropped ones"""
    liked: bool = False
    """True: the user rated every item of the support at or above his own mean; without ratings nobody knows"""
    basis: Basis = Basis.SCORE
    """what the influences were measured on: the score that recommended, or a stand-in made from the history alone, for
    models that keep one vector per known user and read no history"""


@dataclass(frozen=True)
class Catalogue:
    """What is known of the items."""

    titles: Sequence[str]
    """(I,)"""
    domain: Domain = Domain()
    categories: Sequence[str | None] | None = None
    """(I,) ``A|B`` or ``A, B``; reasons are much better with them"""
    middle: float | None = None
    """of the scale of ratings: what a user rated lower is never called liked"""

    def about(self, row: int) -> str:
        """An item's first categories."""
        found = self.categories[row] if self.categories is not None else None
        return ", ".join(split_categories(found or "")[:5])


def explain(
    scorer: Scorer,
    lm: Writer,
    query: Queries,
    item: int,
    titles: Sequence[str],
    domain: Domain | None = None,
    categories: Sequence[str | None] | None = None,
    *,
    template: Template | str = "explain",
    max_history: int = 20,
    max_new_tokens: int = 40,
) -> Explanation[tuple[int, float]]:
    """Why ``item`` fits the one user of ``query``: :func:`explain_items` for one item."""
    known = Catalogue(titles, domain or Domain(), categories)
    return explain_items(
        scorer, lm, query, [item], known, template=template, max_history=max_history, max_new_tokens=max_new_tokens
    )[0]


def explain_items(
    scorer: Scorer,
    lm: Writer,
    query: Queries,
    items: Sequence[int],
    known: Catalogue,
    *,
    template: Template | str = "explain",
    max_history: int = 20,
    max_new_tokens: int = 40,
) -> list[Explanation[tuple[int, float]]]:
    """Why each of some items fits the one user of ``query``; their influences are measured in one go.

    Args:
        scorer: whose recommendations they are (ranker, backbone).
        lm: says the sentences; an instruction-tuned model is best. A function loads it, if it is needed at all. None: a
            rule makes them.
        query: exactly one query; its ratings, where there are any, say what may be called liked.
        items: rows of the recommended items.
        known: titles, words, categories.
        template: the prompt.
        max_history: the last so many history items are considered.
        max_new_tokens: length limit of an answer.

    Raises:
        ConfigError: not exactly one query, or an item index out of range.
    """
    if len(query) != 1:
        raise ConfigError(f"explain answers for one user at a time, got {len(query)}")
    for item in items:
        if not 0 <= item < len(known.titles):
            raise ConfigError(f"item index {item} is not among the catalogue's {len(known.titles)}")
    prompt = Template.load(template) if isinstance(template, str) else template
    measured = influences(scorer, query, items, max_history)
    out = []
    for item, influence in zip(items, measured, strict=True):
        cancel.check()  # in a request whose time is half over, the rule speaks
        out.append(_one(lm, query, item, influence, known, prompt, max_new_tokens))
    return out


def _one(
    lm: Writer,
    query: Queries,
    item: int,
    influence: Influence,
    known: Catalogue,
    prompt: Template,
    max_new_tokens: int,
) -> Explanation[tuple[int, float]]:
    whole = np.asarray(query.history(0), np.int64)
    found = choose_support(whole[len(whole) - len(influence.values) :], influence)
    support, liked = named_support(found, whole, query.history_ratings(0), known.middle)
    indices = [row for row, _ in support]
    about = [known.about(row) for row in (*indices, item)]
    names = [spoken(known.titles[row]) for row in (*indices, item)]
    words = wording(known.domain, liked)
    rule = rule_sentence(names, about, words, influence.basis)
    if not indices or influence.basis == Basis.HISTORY:
        # nothing, or only a stand-in's reason: a model that is asked anyway makes up a "because"
        return Explanation(rule, support, from_template=True, liked=liked, basis=influence.basis)
    speaker = None if cancel.pressed() else lm if lm is None or isinstance(lm, LanguageModel) else lm()
    if speaker is None:
        return Explanation(rule, support, from_template=True, liked=liked)
    allowed = [known.titles[row] for row in dict.fromkeys((*whole.tolist(), item))]
    # what the model adds is about the recommended item: only its own categories may be claimed
    every = _category_names(tuple(known.categories or ()))
    said = _Said(Evidence.of(allowed, [about[-1], words.noun], every), _matcher(tuple(known.titles)))
    for order in _attempts(about)[:MOST_ATTEMPTS]:
        entries = [(names[i], about[i]) for i in (*order, len(indices))]
        text = said.attempt(speaker, words, prompt, entries, max_new_tokens)
        if text:
            return Explanation(text, support, said.counted - said.accepted, said.counted, False, said.problems, liked)
    return Explanation(rule, support, said.counted, said.counted, True, said.problems, liked)


@dataclass
class _Said:
    """The language model's sentences for one item, and what became of them."""

    evidence: Evidence
    matcher: TitleMatcher
    problems: list[str] = field(default_factory=list)
    counted: int = 0
    accepted: int = 0

    def attempt(
        self, lm: LanguageModel, words: Domain, prompt: Template, entries: Sequence[tuple[str, str]], most: int
    ) -> str:
        """At most two sentences without an objection; empty where the first has one. Entries: the target's is last."""
        opening, text = _prompt(prompt, lm, words, [name for name, _ in entries], [text for _, text in entries])
        answer = _continue(lm, text + opening, most, lambda part: hopeless(part, self.evidence))
        made = sentences(answer)[:2] or ([answer.strip()] if answer.strip() else [])
        accepted: list[str] = []
        for place, sentence in enumerate(made):
            bad = objections(sentence, self.evidence, self.matcher)
            if not place and not bad and len(sentence.split()) < LEAST_WORDS:
                bad = ["nothing said"]
            if not bad and not sentence.endswith((".", "!", "?", '"', "”")):
                bad = ["no end"]
            self.problems += bad
            if bad and not place:
                break
            accepted += [] if bad else [sentence]
        self.counted += max(len(made), 1)
        self.accepted = len(accepted)
        if not accepted:
            return ""
        space = " " if opening and answer[:1].isspace() else ""
        return f"{opening}{space}{' '.join(accepted)}"


def _attempts(about: Sequence[str]) -> list[list[int]]:
    """Orders in which the support is put to the model, one attempt each: those that share a category begin first.

    ``about``: the categories of each support item, strongest influence first, and last of all of the recommended one.
    """
    target = set(split_categories(about[-1]))
    shared = [bool(target & set(split_categories(text))) for text in about[:-1]]
    first = sorted(range(len(shared)), key=lambda i: not shared[i])
    return [[i, *(j for j in range(len(shared)) if j != i)] for i in first]


def _prompt(
    template: Template, lm: LanguageModel, domain: Domain, names: Sequence[str], about: Sequence[str]
) -> tuple[str, str]:
    entries = [{"title": name, "about": text} for name, text in zip(names, about, strict=True)]
    text = template.render(
        domain, {"history": entries[:-1], "target": entries[-1:]}, getattr(lm.tokenizer, "apply_chat_template", None)
    )
    plain = [{"title": name, "about": ""} for name in names]
    return template.opening(domain, {"history": plain[:1] if len(names) > 1 else [], "target": plain[-1:]}), text


def _continue(lm: LanguageModel, text: str, max_new_tokens: int, ends: Callable[[str], bool]) -> str:
    """The model's words behind a text, up to the end of a sentence, or to where ``ends`` says that they are useless."""
    ids = torch.tensor([lm.tokenizer(text, add_special_tokens=False)["input_ids"]])
    if lm.bos_token_id is not None and ids[0, 0] != lm.bos_token_id:
        ids = torch.cat([torch.tensor([[lm.bos_token_id]]), ids], dim=1)

    def finished(tokens: list[int]) -> bool:
        said = lm.tokenizer.decode(tokens[-3:])
        if re.search(r"[.!?][\"”]?\s|\n", said) or said.endswith(('."', "!", "?")):
            return True
        return ends(str(lm.tokenizer.decode(tokens, skip_special_tokens=True)))

    answer = generate(
        lm, lm.embed(ids), torch.ones_like(ids), max_new_tokens=max_new_tokens, repetition_penalty=1.1, stop=finished
    )[0]
    return str(lm.tokenizer.decode(answer, skip_special_tokens=True))


@lru_cache(maxsize=4)
def _matcher(titles: tuple[str, ...]) -> TitleMatcher:
    return TitleMatcher(titles)


@lru_cache(maxsize=4)
def _category_names(categories: tuple[str | None, ...]) -> frozenset[str]:
    return frozenset(part for text in categories if text for part in split_categories(text))
