"""What a language model is asked of items as codes and of items as words, and what it shall answer (LC-Rec's tasks).

Zheng et al., LC-Rec, ICDE 2024, arXiv 2311.09049, section III-C, and the authors' code (RUCAIBox/LC-Rec), which has
six tasks: seqrec, item2index, index2item, fusionseqrec, itemsearch and preferenceobtain. They are in the same order
here; the wordings are ours, two to four of each task where the authors have up to nineteen.

- ``next``: codes of a history -> codes of the next item. Its first wording is that of scoring.
- ``words-to-codes``, ``codes-to-words``: one item's title, text, or both, and its codes (explicit alignment).
- ``mixed``: codes of a history -> title or text of the next item; titles of a history -> its codes (implicit).
- ``intention``: what a user wants, in words, with or without the history's codes -> codes.
- ``preference``: codes of a history -> what the user likes, in words.

A text is an item's description, else its categories.

Shape key: I items, K codes of an item.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from interlingua.contracts.ranker import RankerInputs
from interlingua.data.catalogue import split_categories
from interlingua.data.queries import PAD, IntArray
from interlingua.lm.models import LanguageModel

Task = Literal["next", "words-to-codes", "codes-to-words", "mixed", "intention", "preference"]
Answer = Literal["codes", "title", "text", "title and text", "likes"]
NOTHING = "nothing yet"
"""in place of an empty history"""
MOST_LIKES = 3
"""categories of a history that say what a user likes, where no text does"""


@dataclass(frozen=True)
class Wording:
    """One way to ask for one thing.

    Slots: ``{history}`` and ``{item}`` (codes), ``{titles}`` (a history's), ``{title}``, ``{text}``, ``{wish}``.
    """

    task: Task
    asks: str
    answers: Answer = "codes"

    @property
    def needs(self) -> frozenset[str]:
        """What the item in question (``text``, ``wish``) or the user (``likes``) must have in words."""
        said = {word for word in ("text", "wish") if f"{{{word}}}" in self.asks}
        return frozenset(said | {word for word in ("text", "likes") if word in self.answers.split()})


BEFORE = "A user has {past} these {noun}s, the latest one last: {history}."
WORDINGS = (
    Wording("next", f"{BEFORE} Which {{noun}} comes next?"),
    Wording("next", "{history} is what a user has {past}, in this order. Recommend one more {noun}."),
    Wording("next", "After the {noun}s {history}, which {noun} will this user most likely {verb}?"),
    Wording("next", "Find the next {noun} for somebody who has {past} {history}, in order of time."),
    Wording("words-to-codes", 'Which {noun} has the title "{title}"?'),
    Wording("words-to-codes", 'Name the {noun} that is called "{title}".'),
    Wording("words-to-codes", 'Which {noun} is described like this: "{text}"?'),
    Wording("words-to-codes", 'A {noun} has the title "{title}" and is described as "{text}". Which one is it?'),
    Wording("codes-to-words", "What is the title of the {noun} {item}?", "title"),
    Wording("codes-to-words", "How is the {noun} {item} called?", "title"),
    Wording("codes-to-words", "Describe the {noun} {item}.", "text"),
    Wording("codes-to-words", "What are title and description of the {noun} {item}?", "title and text"),
    Wording("mixed", f"{BEFORE} What is the title of the {{noun}} that comes next?", "title"),
    Wording("mixed", f"{BEFORE} Describe the {{noun}} that comes next.", "text"),
    Wording("mixed", "A user has {past} these {noun}s, the latest one last: {titles}. Which {noun} comes next?"),
    Wording("mixed", "After the titles {titles}, which {noun} will this user most likely {verb}?"),
    Wording("intention", 'A user looks for a {noun} with these words: "{wish}". Which {noun} fits?'),
    Wording("intention", f'{BEFORE} Now the user looks for "{{wish}}". Which {{noun}} fits?'),
    Wording("preference", f"{BEFORE} What does this user like?", "likes"),
    Wording("preference", "Say what somebody likes who has {past} {history}, in order of time.", "likes"),
)
ENDING = "\nAnswer:"
"""behind every question"""
_SLOT = re.compile(r" ?\{(history|titles|item|title|text|wish)\}")
CODES = frozenset({"history", "item"})
"""slots that codes fill"""


class CodeTasks:
    """Questions and answers as tokens.

    Args:
        lm: the model, with a token for every code.
        codes: (I, K) token ids of items.
        inputs: titles, categories, descriptions, profiles.
        title_tokens: longer titles are cut.
        text_tokens: longer texts are cut.
    """

    def __init__(
        self, lm: LanguageModel, codes: IntArray, inputs: RankerInputs, title_tokens: int | None, text_tokens: int
    ) -> None:
        self.lm, self.codes, self.inputs = lm, codes.tolist(), inputs
        self.title_tokens, self.text_tokens = title_tokens, text_tokens
        said = inputs.profiles
        categories = inputs.categories or [None] * len(inputs.titles)
        self._categories = [split_categories(each or "") for each in categories]
        listed = [", ".join(each) for each in self._categories]
        descriptions = [_clean(each or "") for each in inputs.descriptions or [None] * len(inputs.titles)]
        self.texts = [own or other for own, other in zip(descriptions, listed, strict=True)]
        made = [a or b for a, b in zip(listed, self.texts, strict=True)]
        self.wishes = list(map(_clean, said.items)) if said else made
        self.profiles = list(map(_clean, said.users)) if said else None
        self._cut = dict[tuple[str, int | None], list[int]]()
        bos = lm.bos_token_id
        self._begin = [] if bos is None else [bos]
        self._parts = [self._compiled(wording.asks + ENDING) for wording in WORDINGS]

    @cached_property
    def comma(self) -> list[int]:
        """Between codes of items, and between titles."""
        return self._words(",")

    def likes(self, user: int, history: Sequence[int]) -> str:
        """What a user likes: the profile, else the commonest categories of the history; empty: nothing says it."""
        if self.profiles is not None:
            return self.profiles[user]
        counted = Counter(each for item in history for each in self._categories[item])
        return ", ".join(each for each, _ in counted.most_common(MOST_LIKES))

    def question(self, number: int, item: int, history: Sequence[int], room: int) -> list[int]:
        """Token ids of a question.

        Args:
            number: of the wording.
            item: the one in question; PAD: none is.
            history: items, oldest first.
            room: tokens at most; the history's oldest items are left out, then what begins the question.
        """
        items = [each for each in history if each != PAD]
        while True:
            found = list(self._begin)
            for part in self._parts[number]:
                found += part if isinstance(part, list) else self._filled(part, item, items)
            if len(found) <= room or not items:
                return found[max(0, len(found) - room) :]
            items = items[1 + (len(found) - room) // 64 :]

    def answer(self, number: int, user: int, item: int, history: Sequence[int]) -> list[int]:
        """Token ids of the right answer: K codes, or words and the token that ends them."""
        kind = WORDINGS[number].answers
        if kind == "codes":
            return list(self.codes[item])
        found: list[int] = []
        if "title" in kind:
            found += self._short(f" {self._title(item)}", self.title_tokens)
        if "text" in kind:
            found += self._short(f"\n{self.texts[item]}" if found else f" {self.texts[item]}", self.text_tokens)
        if kind == "likes":
            found += self._short(f" {self.likes(user, [each for each in history if each != PAD])}", self.text_tokens)
        return [*found, self.lm.eos_token_id]

    def _title(self, item: int) -> str:
        return _clean(self.inputs.titles[item]) or "untitled"

    def _filled(self, slot: str, item: int, items: Sequence[int]) -> list[int]:
        name = slot.strip()
        if name == "item":
            return list(self.codes[item])
        if name in ("history", "titles"):
            if not items:
                return self._short(f" {NOTHING}", None)
            entries = [self.codes[each] if name == "history" else self._quoted(each) for each in items]
            return [token for place, entry in enumerate(entries) for token in (*(self.comma if place else ()), *entry)]
        if name == "title":
            return self._short(self._title(item), self.title_tokens)
        return self._short(self.texts[item] if name == "text" else self.wishes[item], self.text_tokens)

    def _quoted(self, item: int) -> list[int]:
        return [*self._words(' "'), *self._short(self._title(item), self.title_tokens), *self._words('"')]

    def _compiled(self, text: str) -> list[list[int] | str]:
        """Tokens of what is fixed, and names of slots; a blank before a slot belongs to it."""
        domain = self.inputs.domain
        for word, value in (("noun", domain.noun), ("verb", domain.verb), ("past", domain.past)):
            text = text.replace(f"{{{word}}}", value)
        parts = _SLOT.split(text)
        return [part if place % 2 else self._words(part) for place, part in enumerate(parts) if part]

    def _short(self, text: str, most: int | None) -> list[int]:
        key = (text, most)
        if key not in self._cut:
            self._cut[key] = self._words(text)[:most]
        return self._cut[key]

    def _words(self, text: str) -> list[int]:
        """Other people's text: what looks like a special token in it is split into characters."""
        if not text:
            return []
        return list(self.lm.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def _clean(text: str) -> str:
    return " ".join(text.split())
