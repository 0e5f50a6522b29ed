"""Takes a secret out of everything that came from a server: whole or in part, plain or in the usual encodings.

Some servers repeat the key that they were sent, in error messages or, if they are hostile, inside answers. What is kept
(ledger, tables, cards) or shown is cleaned first. Found are eight or more characters of the secret in a row, in any
case of letters: as they are, percent-encoded, as base64 at any offset, as hexadecimal digits with or without
separators, as JSON escapes, as HTML entities, and backwards.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase
from urllib.parse import quote

PART = 8
"""this number of consecutive characters counts as a part of a secret; a shorter secret is found as a whole"""
SHORTEST = 4
"""a shorter secret than this is a word: taking it out would hit any text"""
MASK = "***"
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)  # as long as the text, unlike str.lower

_CODES: tuple[Callable[[int], str], ...] = (
    lambda byte: f"{byte:02x}",
    lambda byte: f"{byte:02x} ",
    lambda byte: f"{byte:02x}:",
    lambda byte: f"{byte:02x}-",
    lambda byte: f"%{byte:02x}",
    lambda byte: f"\\x{byte:02x}",
    lambda byte: f"\\u00{byte:02x}",
    lambda byte: f"&#{byte};",
    lambda byte: f"&#x{byte:x};",
)
"""one byte in the encodings that write each byte by itself"""


class Redactor:
    """Finds one secret in texts."""

    def __init__(self, secret: str) -> None:
        """Prepares the fragments to look for; an empty or very short secret has none."""
        self._fragments: dict[int, set[str]] = {}
        if len(secret) >= SHORTEST:
            for fragment in _fragments(secret):
                self._fragments.setdefault(len(fragment), set()).add(fragment.translate(_LOWER))

    def clean(self, text: str) -> str:
        """The text with :data:`MASK` for every stretch of the secret."""
        low = text.translate(_LOWER)
        marked = bytearray(len(text))
        for size, known in self._fragments.items():
            for start in range(len(low) - size + 1):
                if low[start : start + size] in known:
                    marked[start : start + size] = b"\1" * size
        return _masked(text, marked) if any(marked) else text


@lru_cache(maxsize=4)
def redactor(secret: str) -> Redactor:
    """The redactor of a secret, made once."""
    return Redactor(secret)


def _masked(text: str, marked: bytearray) -> str:
    parts, position = [], 0
    while (start := marked.find(1, position)) >= 0:
        end = marked.find(0, start)
        end = len(text) if end < 0 else end
        parts += [text[position:start], MASK]
        position = end
    return "".join([*parts, text[position:]])


def _fragments(secret: str) -> set[str]:
    """Every stretch of :data:`PART` characters, in each encoding."""
    part = min(PART, len(secret))
    out = _windows(secret, part) | _windows(secret[::-1], part)
    for spelled in {quote(secret, safe=""), quote(secret)}:
        out |= _windows(spelled, part)
    data = secret.encode("utf-8", "surrogatepass")
    for start in range(len(data) - part + 1):
        piece = data[start : start + part]
        out |= {"".join(map(code, piece)).rstrip(" :-") for code in _CODES}
        out |= {_inside_base64(piece, shift, altchars) for shift in range(3) for altchars in (b"+/", b"-_")}
    return out


def _windows(text: str, size: int) -> set[str]:
    return {text[start : start + size] for start in range(len(text) - size + 1)}


def _inside_base64(piece: bytes, shift: int, altchars: bytes) -> str:
    """What stands in a base64 text wherever ``piece`` begins ``shift`` bytes behind a group of three."""
    coded = base64.b64encode(b"\0" * shift + piece, altchars).decode().rstrip("=")
    first = -(-8 * shift // 6)  # characters before that are mixed with the bytes in front
    last = (8 * (shift + len(piece))) // 6  # the one after that with those behind
    return coded[first:last]
