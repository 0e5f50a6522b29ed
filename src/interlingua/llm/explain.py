"""Why an item is recommended: the history items that mattered, and a sentence that a language model makes of them.

The support is measured, not told: each history item is left out in turn, and its influence is how much the item's
score falls against a fixed set of other items. The sentence is checked (see :mod:`interlingua.llm.facts`); what names
anything beyond the evidence is dropped and counted. If nothing survives, a sentence made from the evidence alone is
shown and marked as such. Deterministic.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
import torch

from interlingua.core import Domain, IntArray, Queries, Ranker
from interlingua.errors import ConfigError
from interlingua.llm.facts import Evidence, TitleMatcher, objections, sentences, spoken
from interlingua.llm.generate import generate
from interlingua.llm.models import LanguageModel
from interlingua.llm.template import Template

MAX_SUPPORT = 3
LEAST_WORDS = 4
"""a reason with fewer words of the model's own says nothing"""
REFERENCES = 19
"""other items against which a score is measured, so that a constant added to all scores does not count"""


S = TypeVar("S")


@dataclass(frozen=True)
class Explanation(Generic[S]):
    """A reason for one recommendation."""

    sentence: str
    """one or two sentences that name nothing beyond the evidence"""
    support: list[S]
    """history items that raised the score, most influential first: (item row, fall of the score without it), or what
    :class:`interlingua.recommender.Support` makes of them"""
    dropped: int = 0
    """generated sentences that were not shown"""
    counted: int = 0
    """generated sentences in all"""
    from_template: bool = False
    """True: no generated sentence survived; the sentence is made from the evidence by a rule"""
    objections: list[str] = field(default_factory=list)
    """what was wrong with the dropped ones"""


def influences(ranker: Ranker, history: IntArray, item: int, *, references: int = REFERENCES) -> list[float]:
    """How much each history item raises an item's score: the fall when it is left out.

    Args:
        ranker: any model; it is asked for unknown users, so that only the history speaks.
        history: (L,) item rows, oldest first.
        item: the recommended item's row.
        references: the score is taken relative to the mean of so many other items, drawn with a fixed seed.

    Returns:
        L numbers in the unit of the ranker's score.
    """
    rows = np.asarray(history, np.int64)
    if not len(rows):
        return []
    left_out = [np.delete(rows, i) for i in range(len(rows))]
    histories: list[IntArray] = [rows, *left_out]
    queries = Queries.of(histories)
    others = np.setdiff1d(np.arange(ranker.num_items), np.append(rows, item))
    drawn = np.random.default_rng(0).permutation(others)[:references]
    items = np.tile(np.concatenate([[item], drawn]), (len(queries), 1))
    scores = ranker.score(queries, items).astype(np.float64)
    relative = scores[:, 0] - scores[:, 1:].mean(1) if len(drawn) else scores[:, 0]
    return (relative[0] - relative[1:]).tolist()


def choose_support(history: IntArray, values: Sequence[float], most: int = MAX_SUPPORT) -> list[tuple[int, float]]:
    """The items that raised the score, strongest first; a tenth of the strongest influence is the least that counts."""
    best: dict[int, float] = {}
    for row, value in zip(np.asarray(history).tolist(), values, strict=True):
        if np.isfinite(value) and value > best.get(row, 0.0):
            best[row] = float(value)
    ordered = sorted(best.items(), key=lambda pair: -pair[1])
    return [pair for pair in ordered[:most] if pair[1] >= 0.1 * ordered[0][1]]


def explain(
    ranker: Ranker,
    lm: LanguageModel,
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
    """Why ``item`` fits the one user of ``query``.

    Args:
        ranker: whose recommendation it is (reader, backbone).
        lm: says the sentence; an instruction-tuned model is best.
        query: exactly one query.
        item: the recommended item's row.
        titles: (I,) titles of the catalogue.
        domain: words for the catalogue's things.
        categories: (I,) categories of each item, ``A|B`` or ``A, B``; reasons are much better with them.
        template: the prompt.
        max_history: the last so many history items are considered.
        max_new_tokens: length limit of the answer.

    Raises:
        ConfigError: not exactly one query, or an item row out of range.
    """
    if len(query) != 1:
        raise ConfigError(f"explain answers for one user at a time, got {len(query)}")
    if not 0 <= item < len(titles):
        raise ConfigError(f"item row {item} is not among the catalogue's {len(titles)}")
    words = domain or Domain()
    whole = np.asarray(query.history(0), np.int64)
    recent = whole[-max_history:]
    support = choose_support(recent, influences(ranker, recent, item))
    rows = [row for row, _ in support]
    about = [_about(categories, row) for row in (*rows, item)]
    if not rows:  # nothing to give as a reason: a model that is asked anyway makes one up
        return Explanation(rule_sentence([spoken(titles[item])], about, words), support, from_template=True)
    prompt = Template.load(template) if isinstance(template, str) else template
    allowed = [titles[row] for row in dict.fromkeys((*whole.tolist(), item))]
    # the opening's "it" is the recommended item: only its own categories may be claimed
    evidence = Evidence.of(allowed, [about[-1], words.noun, words.past], _category_names(tuple(categories or ())))
    matcher = _matcher(tuple(titles))
    problems: list[str] = []
    counted = 0
    for order in _attempts(about):
        named, texts = [spoken(titles[rows[i]]) for i in order], [about[i] for i in order]
        opening, text = _prompt(prompt, lm, words, [*named, spoken(titles[item])], [*texts, about[-1]])
        made = sentences(f"{opening}{_continue(lm, text + opening, max_new_tokens)}")[:2]
        kept = []
        for sentence in made:
            bad = objections(sentence, evidence, matcher) or (["nothing said"] if _is_empty(sentence, opening) else [])
            problems += bad
            if not bad:
                kept.append(sentence)
        counted += len(made)
        if kept and kept[0] == made[0]:
            return Explanation(" ".join(kept), support, counted - len(kept), counted, False, problems)
    rule = rule_sentence([spoken(titles[r]) for r in (*rows, item)], about, words)
    return Explanation(rule, support, counted, counted, True, problems)


def _attempts(about: Sequence[str]) -> list[list[int]]:
    """Orders in which the support is put to the model, one attempt each: those that share a category begin first.

    ``about``: the categories of each support item, strongest influence first, and last of all of the recommended one.
    """
    target = set(_split_categories(about[-1]))
    shared = [bool(target & set(_split_categories(text))) for text in about[:-1]]
    first = sorted(range(len(shared)), key=lambda i: not shared[i])
    return [[i, *(j for j in range(len(shared)) if j != i)] for i in first]


def _is_empty(sentence: str, opening: str) -> bool:
    """Whether a sentence stops right after the opening that was put into the model's mouth ("..., it all.")."""
    return sentence.startswith(opening) and len(sentence[len(opening) :].split()) < LEAST_WORDS


def rule_sentence(names: Sequence[str], about: Sequence[str], domain: Domain) -> str:
    """The sentence made from the evidence alone; the last name and text are the recommended item's.

    The category that most of the support shares with the item is named, with those that share it and no others.
    """
    *liked, target = names
    if not liked:
        return f"{target} fits the history as a whole; no single {domain.noun} in it decided the recommendation."
    having = {
        c: [n for n, text in zip(liked, about[:-1], strict=True) if c in _split_categories(text)]
        for c in _split_categories(about[-1])
    }
    best = max(having, key=lambda c: len(having[c]), default="")
    if not having.get(best):
        return f"{target} is recommended because you have {domain.past} {_listed(liked)}."
    named = [c for c, names_of in having.items() if names_of == having[best]][:2]
    others = [name for name in liked if name not in having[best]]
    extra = f" {_listed(others)} raised its score too." if others else ""
    return f"{target} shares {_listed(named)} with {_listed(having[best])}, which you have {domain.past}.{extra}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _prompt(
    template: Template, lm: LanguageModel, domain: Domain, names: Sequence[str], about: Sequence[str]
) -> tuple[str, str]:
    entries = [{"title": name, "about": text} for name, text in zip(names, about, strict=True)]
    text = template.render(
        domain, {"history": entries[:-1], "target": entries[-1:]}, getattr(lm.tokenizer, "apply_chat_template", None)
    )
    plain = [{"title": name, "about": ""} for name in names]
    return template.opening(domain, {"history": plain[:1] if len(names) > 1 else [], "target": plain[-1:]}), text


def _continue(lm: LanguageModel, text: str, max_new_tokens: int) -> str:
    ids = torch.tensor([lm.tokenizer(text, add_special_tokens=False)["input_ids"]])
    if lm.bos_id is not None and ids[0, 0] != lm.bos_id:
        ids = torch.cat([torch.tensor([[lm.bos_id]]), ids], dim=1)

    def finished(tokens: list[int]) -> bool:
        said = lm.tokenizer.decode(tokens[-3:])
        return bool(re.search(r"[.!?][\"”]?\s|\n", said)) or said.endswith(('."', "!", "?"))

    answer = generate(
        lm, lm.embed(ids), torch.ones_like(ids), max_new_tokens=max_new_tokens, repetition_penalty=1.1, stop=finished
    )[0]
    return str(lm.tokenizer.decode(answer, skip_special_tokens=True))


def _about(categories: Sequence[str | None] | None, row: int) -> str:
    found = categories[row] if categories is not None else None
    return ", ".join(_split_categories(found or "")[:5])


def _split_categories(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"[|,;>]", text) if part.strip()]


@lru_cache(maxsize=4)
def _matcher(titles: tuple[str, ...]) -> TitleMatcher:
    return TitleMatcher(titles)


@lru_cache(maxsize=4)
def _category_names(categories: tuple[str | None, ...]) -> frozenset[str]:
    return frozenset(part for text in categories if text for part in _split_categories(text))
