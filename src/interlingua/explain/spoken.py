"""Titles in spoken form."""

from __future__ import annotations

import re

_TRAILING = re.compile(r"\s*[(\[][^()\[\]]*[)\]]\s*$")
_ARTICLE = re.compile(r"^(.*), (The|A|An|Le|La|Les|Il|El|Der|Die|Das|L')$")
MARKS = re.compile(r"<\|[^|>]*\|>|</?s>|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn)>")
"""markers of chats and texts, which a title may hold and a prompt must not take from it"""


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
    return " ".join((short or clean).split()) or UNTITLED
