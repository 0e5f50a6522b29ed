"""Names of columns in back quotes, in an expression: any characters, e.g. ```price €` < 20``.

Python's parser knows no such names: it gets an identifier of the same number of bytes in their place, so that all that
it says of places holds for the text as it was written.
"""

from __future__ import annotations

import re

PIECES = re.compile(
    r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|"""  # texts in quotes, as they are
    r"""(?<![\w`])`(?P<name>[^`]+)`(?![\w`])"""
)
STAND_IN = "_"


def without_back_quotes(line: str) -> tuple[str, dict[int, str]]:
    """The expression with an identifier for each name in back quotes, and byte offset -> name of those."""
    pieces, names, last, offset = list[str](), dict[int, str](), 0, 0
    for found in PIECES.finditer(line):
        before = line[last : found.start()]
        offset += len(before.encode())
        size = len(found[0].encode())
        if found["name"] is not None:
            names[offset] = found["name"]
        pieces += [before, found[0] if found["name"] is None else STAND_IN * size]
        last, offset = found.end(), offset + size
    return "".join([*pieces, line[last:]]), names


def place_in(line: str, parsed: str, at: int) -> int:
    """The place in the text as it was written of a place in what the parser got; both count characters."""
    return len(line.encode()[: len(parsed[:at].encode())].decode(errors="ignore"))


def written(name: str) -> str:
    """A column's name as an expression has it."""
    return name if name.isidentifier() and name.isascii() else f"`{name}`"
