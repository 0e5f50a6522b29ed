"""The evidence of a reason: titles, spans of catalogue fields, and events of the history, each with an id.

Every content word of a reason carries the ids of what it was taken from; other words claim nothing (:data:`PLAIN`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from interlingua.explain.spoken import plain

Kind = Literal["title", "categories", "description", "event", "text", "dataset"]
WORD = re.compile(r"\w+(?:['’]\w+)*")
PLAIN = frozenset(
    WORD.findall(
        "a an the and or of in with for by as at and to on it its this that these which you your is are be may might "
        "too also because since if so what both no single reason nothing there could you"
    )
)
"""words that claim nothing of an item or of a person"""
LIKING = frozenset(WORD.findall("enjoy like fits goes history whole speaks"))
"""words of a recommendation: that there is one, and what the reader may come to think"""
NO_CATEGORY = frozenset(("unknown", "none", "null", "nan", "other", "others", "misc", "n"))
"""written where there is no category"""
NO_CLAIM, NO_CATEGORIES = PLAIN | LIKING, PLAIN | NO_CATEGORY
LONGEST, SHORTEST, SPANS = 14, 3, 3
"""words of a quoted span, and spans that are offered"""
SPELLED = 3
"""letters up to which capitals are spelled out"""
_CLAUSE = re.compile(r"(?<=[.!?;])\s+|\n+")


@dataclass(frozen=True)
class Evidence:
    """One known fact."""

    id: str
    """``title:7``, ``categories:7``, ``event:7``: unique within a reason"""
    kind: Kind
    item: int | str | None
    """its item: an index, or an external id; None: it belongs to the dataset, or is what was asked for in words"""
    text: str
    """its text in the catalogue; for an event, its description; for a text what was asked for"""


@dataclass(frozen=True)
class Part:
    """A piece of a sentence."""

    text: str
    evidence: tuple[str, ...] = ()
    """ids of what it was taken from; none: words that claim nothing"""


def says_something(category: str) -> bool:
    """Whether a category can be named as one: it has a letter, and is not a word such as "the" or "unknown"."""
    words = [word.casefold() for word in WORD.findall(category)]
    return any(any(map(str.isalpha, word)) and word not in NO_CATEGORIES for word in words)


def article(word: str) -> str:
    """``a`` or ``an`` before a word, by its first letter; of one that is spelled out (RPG) by that letter's name."""
    if word.isupper() and word.isalpha() and 1 < len(word) <= SPELLED:
        return "an" if word[0] in "AEFHILMNORSX" else "a"
    first = unicodedata.normalize("NFD", word[:1]).casefold()[:1]
    return "an" if first and first in "aeiou" and not word.casefold().startswith(("uni", "eu", "one")) else "a"


def spans_of(description: str | None) -> list[str]:
    """The first sentences of a description that are short enough to be quoted."""
    clean = " ".join(plain(description or "").split())
    found = []
    for clause in _CLAUSE.split(clean):
        short = clause.strip().rstrip(".;")
        if SHORTEST <= len(short.split()) <= LONGEST and "http" not in short and "<" not in short:
            found.append(short)
    return list(dict.fromkeys(found))[:SPANS]


def content_words(parts: Sequence[Part]) -> tuple[int, int]:
    """(words that claim something, those of them that carry evidence)."""
    claims = held = 0
    for part in parts:
        words = [word.casefold() for word in WORD.findall(part.text)]
        claiming = [word for word in words if part.evidence or word not in NO_CLAIM]
        claims += len(claiming)
        held += len(claiming) if part.evidence else 0
    return claims, held


def together(parts: Iterable[Part]) -> str:
    """The sentence."""
    return "".join(part.text for part in parts).strip()
