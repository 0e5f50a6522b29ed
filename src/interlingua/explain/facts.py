"""Checks generated sentences against what is known: no word that the evidence does not hold.

A small language model names films that it remembers, and says of any film that it is a classic with a twist. A sentence
is kept only if every catalogue title in it belongs to the user's history or the recommended item, and every other word
is one of the item's categories, the domain's noun, or a word that claims nothing (:data:`FUNCTION`).
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
        free = [not taken for taken in _spans(words, allowed)]
        named, at = [], 0
        while at < len(words):
            size = next((len(k) for k in self._by_first.get(words[at], ()) if tuple(words[at : at + len(k)]) == k), 0)
            size = size if all(free[at : at + size]) else 0
            if size and _is_name(sentence, found[at : at + size], at):
                named.append(sentence[found[at].start() : found[at + size - 1].end()])
                at += size
            else:
                at += 1
        return named


def _spans(words: Sequence[str], keys: Collection[tuple[str, ...]]) -> list[tuple[int, int] | None]:
    """For each word the (start, end) of the longest key that it is part of, or None; longer keys come first."""
    out: list[tuple[int, int] | None] = [None] * len(words)
    for key in sorted(keys, key=len, reverse=True):
        for at in range(len(words) - len(key) + 1):
            if tuple(words[at : at + len(key)]) == key and not any(out[at : at + len(key)]):
                out[at : at + len(key)] = [(at, at + len(key))] * len(key)
    return out


def _is_name(sentence: str, matches: Sequence[re.Match[str]], at: int) -> bool:
    """Whether some words, the first of them the ``at``-th of the sentence, are written like a title."""
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
    """keys of the titles that may be named, each as a whole"""
    words: frozenset[str]
    """casefolded words that may be said"""
    absent_categories: frozenset[str] = field(default_factory=frozenset)
    """categories of the catalogue that the recommended item does not have"""

    @classmethod
    def of(cls, titles: Iterable[str], texts: Iterable[str], catalogue_categories: Collection[str] = ()) -> Evidence:
        """Evidence from titles that may be named and texts (categories, the noun) whose words may be said."""
        words = frozenset(word for text in texts for word in _words(text.replace("-", " ")))
        absent = frozenset(c.casefold() for c in catalogue_categories if not set(_words(c.replace("-", " "))) <= words)
        return cls(frozenset(key for title in titles for key in title_keys(title)), words, absent)


FUNCTION = frozenset(
    _words(
        "a an the this that these it its it's he she they them their who which your you "
        "is are be with of for in to by on as at and because so since if also too may might will would enjoy has 's"
    )
)
"""words that claim nothing of an item. Not among them, on purpose: what denies or compares (not, only, more, best),
what says that the user has had or liked something, and what likens one item to another"""


def hopeless(part: str, evidence: Evidence) -> bool:
    """Whether a sentence in the making has a whole word that no ending can make right: it need not be finished."""
    in_titles = {word for key in evidence.titles for word in key}
    whole = re.sub(r"[\w'’]+$", "", part.replace("-", " "))  # the last word may go on
    return any(not _forms(word[0]) & (evidence.words | FUNCTION | in_titles) for word in _WORD.finditer(whole))


def _forms(word: str) -> set[str]:
    whole = word.casefold().replace("’", "'")
    return {whole, whole.removesuffix("'s")}


def objections(sentence: str, evidence: Evidence, matcher: TitleMatcher) -> list[str]:
    """Everything in a sentence that the evidence does not hold; empty: the sentence may be shown."""
    bad = [f"title {name!r}" for name in matcher.find(sentence, evidence.titles)]
    found = list(_WORD.finditer(sentence))
    spans = _spans([match[0].casefold() for match in found], evidence.titles)
    for place, match in enumerate(found):
        span = spans[place]
        if span is not None and _is_name(sentence, found[span[0] : span[1]], span[0]):
            continue
        if _forms(match[0]) & (evidence.words | FUNCTION):
            continue
        kind = "year" if _YEAR.fullmatch(match[0]) else "name" if place and match[0][:1].isupper() else "word"
        bad.append(f"{kind} {match[0]!r}")
    quoted = [match[1] for match in _QUOTED.finditer(sentence)]
    bad += [f"quotation {text!r}" for text in quoted if _words(text) not in evidence.titles]
    low = f" {' '.join(_words(sentence.replace('-', ' ')))} "
    for category in sorted(evidence.absent_categories):
        plain = " ".join(_words(category.replace("-", " ")))
        if plain and f" {plain} " in low:
            bad.append(f"category {category!r}")
    return bad
