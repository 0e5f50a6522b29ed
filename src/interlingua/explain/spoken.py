"""Titles in spoken form."""

from __future__ import annotations

import re

_TRAILING = re.compile(r"\s*[(\[][^()\[\]]*[)\]]\s*$")
_ARTICLE = re.compile(r"^(.*), (The|A|An|Le|La|Les|Il|El|Der|Die|Das|L')$")
MARKS = re.compile(r"<\|[^|>]*\|>|</?s>|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn)>")
"""markers of chats and texts, which a title may hold and a prompt must not take from it"""


_QUOTES = re.compile(r"[\"“”]")
LONGEST = 80
"""characters of a title that are said"""
WORDS = re.compile(r"\w")
UNCLEAR = re.compile(r"[\"“”.?!;:,()\[\]]|^[a-z]+(\s|$)|^\W")
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
        return UNTITLED if not said else f"“{said}”"
    if len(said) > LONGEST:
        said = f"{said[:LONGEST].rsplit(' ', 1)[0]}…"
    return (
        f"“{said.replace('“', chr(39)).replace('”', chr(39)).replace(chr(34), chr(39))}”"
        if UNCLEAR.search(said)
        else said
    )
