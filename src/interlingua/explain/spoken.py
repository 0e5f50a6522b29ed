"""Titles in spoken form."""

from __future__ import annotations

import re

_TRAILING = re.compile(r"\s*[(\[][^()\[\]]*[)\]]\s*$")
_ARTICLE = re.compile(r"^(.*), (The|A|An|Le|La|Les|Il|El|Der|Die|Das|L')$")
MARKS = re.compile(r"<\|[^|>]*\|>|</?s>|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn)>")
"""markers of chats and texts, which a title may hold and a prompt must not take from it"""


DOUBLE = '"“”„‟«»″＂「」『』'
"""marks that enclose what is quoted"""
OPENING, CLOSING = "‘", "’"
"""what they become inside of quotation marks"""
LONGEST = 80
"""characters of a title that are said"""
WORDS = re.compile(r"\w")
UNCLEAR = re.compile(rf"[{DOUBLE}.?!;:,()\[\]]|^[a-z]+(\s|$)|^\W")
"""a title that a reader could not tell from the sentence around it: it is put in quotation marks"""
UNTITLED = "an untitled one"
"""said of a title without any word"""


def plain(text: str) -> str:
    """A text without the markers of chats."""
    return MARKS.sub(" ", text)


def spoken(title: str) -> str:
    """A title as a person says it: ``Matrix, The (1999)`` -> ``The Matrix``. Never empty."""
    clean = plain(title).replace("\n", " ").strip()
    short = clean
    while (cut := _TRAILING.sub("", short)) and cut != short:
        short = cut
    match = _ARTICLE.match(short)
    if match:
        short = f"{match[2]}{'' if match[2].endswith(chr(39)) else ' '}{match[1]}"
    said = " ".join((short or clean).split())
    if not WORDS.search(said):
        return quoted(said) if said.strip(f"{DOUBLE} ") else UNTITLED
    said = at_most(said)
    return quoted(said) if UNCLEAR.search(said) else said


def at_most(text: str) -> str:
    """A text of at most :data:`LONGEST` characters, and an ellipsis where there were more."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rsplit(' ', 1)[0]}…"


def quoted(text: str) -> str:
    """A text in quotation marks; those inside become single ones, in pairs: ``say "no"`` -> ``“say ‘no’”``."""
    inner = text.strip()
    if (
        len(inner) > 1
        and inner[0] in DOUBLE
        and inner[-1] in DOUBLE
        and not any(mark in DOUBLE for mark in inner[1:-1])
    ):
        inner = inner[1:-1].strip()  # they stand around the whole already
    return f"“{_single(inner)}”"


def _single(text: str) -> str:
    """Double quotation marks as single ones; one that stands alone goes (a text that was cut), unless it is an inch."""
    places = [n for n, letter in enumerate(text) if letter in DOUBLE]
    alone = {}
    if len(places) % 2:
        inches = [n for n in places if n and text[n - 1].isdigit()]
        at = inches[0] if inches else places[-1]
        alone = {at: text[at] if inches else ""}
        places.remove(at)
    said = alone | dict.fromkeys(places[::2], OPENING) | dict.fromkeys(places[1::2], CLOSING)
    return "".join(said.get(n, letter) for n, letter in enumerate(text))
