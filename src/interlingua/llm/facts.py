"""Checks generated sentences against what is known: no title, name, year or category that the evidence does not hold.

A small language model names films that it remembers. A sentence is kept only if every catalogue title in it belongs to
the user's history or the recommended item, and every other capitalised word, quoted text, year and category stands in
the evidence that the model was given.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

_WORD = re.compile(r"\w+(?:['’]\w+)*")
_TRAILING = re.compile(r"\s*[(\[][^()\[\]]*[)\]]\s*$")
_ARTICLE = re.compile(r"^(.*), (The|A|An|Le|La|Les|Il|El|Der|Die|Das|L')$")
_QUOTED = re.compile(r"[\"“”«»]([^\"“”«»]+)[\"“”«»]")
_YEAR = re.compile(r"\b(1[89]\d\d|20\d\d)s?\b")
_SENTENCE = re.compile(r"(?<=[.!?])[\"”]?\s+(?=[A-Z\"“])|\n+")
_INITIALS = re.compile(r"(?:^|\s)(?:[A-Z]|Dr|Mr|Mrs|Ms|St|Jr|Sr|vs|vol|Vol)\.$")
MARKS = re.compile(r"<\|[^|>]*\|>|</?s>|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn)>")
"""markers of chats and texts, which a title may hold and a prompt must not take from it"""


def spoken(title: str) -> str:
    """A title as a person says it: ``Matrix, The (1999)`` -> ``The Matrix``. Never empty."""
    clean = MARKS.sub(" ", title).replace("\n", " ").strip()
    short = clean
    while (cut := _TRAILING.sub("", short)) and cut != short:
        short = cut
    match = _ARTICLE.match(short)
    if match:
        short = f"{match[2]}{'' if match[2].endswith(chr(39)) else ' '}{match[1]}"
    return " ".join((short or clean or title).split())


def sentences(text: str) -> list[str]:
    """Whole sentences; an unfinished last one is left out. ``Dr. No`` and ``E. T.`` do not end one."""
    parts: list[str] = []
    for part in _SENTENCE.split(text.strip()):
        if not part or not part.strip():
            continue
        if parts and _INITIALS.search(parts[-1]):
            parts[-1] = f"{parts[-1]} {part.strip()}"
        else:
            parts.append(part.strip())
    return [part for part in parts if part.rstrip("\"”' )").endswith((".", "!", "?"))]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.casefold() for word in _WORD.findall(text))


def title_keys(title: str) -> set[tuple[str, ...]]:
    """The word sequences by which a text may name a title: as written, as said, without the article."""
    said = spoken(title)
    keys = {_words(title), _words(said), _words(_TRAILING.sub("", title))}
    first, _, rest = said.partition(" ")
    if first.casefold() in ("the", "a", "an") and len(_words(rest)) > 1:
        keys.add(_words(rest))
    return {key for key in keys if key}


class TitleMatcher:
    """Finds catalogue titles in sentences: one look-up per word, whatever the size of the catalogue."""

    def __init__(self, titles: Sequence[str]) -> None:
        self._by_first: dict[str, list[tuple[str, ...]]] = {}
        for key in {key for title in titles for key in title_keys(title)}:
            self._by_first.setdefault(key[0], []).append(key)
        for keys in self._by_first.values():
            keys.sort(key=len, reverse=True)  # the longest title that fits wins

    def find(self, sentence: str, allowed: Collection[tuple[str, ...]] = ()) -> list[str]:
        """Titles named in a sentence, allowed ones left out.

        A title of one or two words counts only where it is written like a name (a capital letter not at the start of
        the sentence, or quotation marks): ``heat`` and ``it`` are words too.
        """
        found = list(_WORD.finditer(sentence))
        words = [match[0].casefold() for match in found]
        free = [True] * len(words)
        for key in sorted(allowed, key=len, reverse=True):
            for at in range(len(words) - len(key) + 1):
                if tuple(words[at : at + len(key)]) == key and all(free[at : at + len(key)]):
                    free[at : at + len(key)] = [False] * len(key)
        named, at = [], 0
        while at < len(words):
            size = next((len(k) for k in self._by_first.get(words[at], ()) if tuple(words[at : at + len(k)]) == k), 0)
            size = size if all(free[at : at + size]) else 0
            if size and self._is_name(sentence, found[at : at + size], at):
                named.append(sentence[found[at].start() : found[at + size - 1].end()])
                at += size
            else:
                at += 1
        return named

    @staticmethod
    def _is_name(sentence: str, matches: Sequence[re.Match[str]], at: int) -> bool:
        before = sentence[: matches[0].start()]
        after = sentence[matches[-1].end() :]
        if before.endswith(('"', "“", "«")) and after[:1] in ('"', "”", "»", ",", "."):
            return True
        capitals = [m for i, m in enumerate(matches) if m[0][:1].isupper() and (at + i > 0) and m[0] != "I"]
        return len(capitals) > 0 if len(matches) < 4 else True


@dataclass(frozen=True)
class Evidence:
    """What a sentence may speak of."""

    titles: frozenset[tuple[str, ...]]
    """keys of the titles that may be named"""
    words: frozenset[str]
    """casefolded words of the prompt: names and years must be among them"""
    absent_categories: frozenset[str] = field(default_factory=frozenset)
    """categories of the catalogue that none of the shown items has"""

    @classmethod
    def of(cls, titles: Iterable[str], texts: Iterable[str], catalogue_categories: Collection[str] = ()) -> Evidence:
        """Evidence from titles that may be named and all texts that were shown."""
        titles = list(titles)
        words = frozenset(word for text in (*titles, *texts) for word in _words(text.replace("-", " ")))
        absent = frozenset(c.casefold() for c in catalogue_categories if not set(_words(c.replace("-", " "))) <= words)
        return cls(frozenset(key for title in titles for key in title_keys(title)), words, absent)


COMMON = frozenset(
    _words("i i'm i'd i'll i've you your it its it's they the a an this that these those and but if both")
)


def objections(sentence: str, evidence: Evidence, matcher: TitleMatcher) -> list[str]:
    """Everything in a sentence that the evidence does not hold; empty: the sentence may be shown."""
    bad = [f"title {name!r}" for name in matcher.find(sentence, evidence.titles)]
    bad += [f"year {match[1]}" for match in _YEAR.finditer(sentence) if match[1] not in evidence.words]
    for match in _QUOTED.finditer(sentence):
        if not set(_words(match[1])) <= evidence.words:
            bad.append(f"quotation {match[1]!r}")
    flat = sentence.replace("-", " ")
    for index, match in enumerate(_WORD.finditer(flat)):
        whole = match[0].casefold()
        forms = {whole, whole.replace("’", "'"), whole.removesuffix("'s").removesuffix("’s")}
        if index and match[0][:1].isupper() and not forms & (evidence.words | COMMON):
            bad.append(f"name {match[0]!r}")
    low = f" {' '.join(_words(flat))} "
    for category in sorted(evidence.absent_categories):
        plain = " ".join(_words(category.replace("-", " ")))
        if plain and f" {plain} " in low:
            bad.append(f"category {category!r}")
    return bad
