"""Dates in an expression: ``released >= 2020-12-31`` means the text, and no calculation."""

from __future__ import annotations

import re
from datetime import date

PIECES = re.compile(
    r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|"""  # texts in quotes, as they are
    r"""`[^`]*`|"""  # names
    r"""(?<![\w.\-])(?P<date>\d{4}-\d{2}-\d{2})(?![\w.\-:]|\s+\d)"""
)
LIKE_DATES = re.compile(r"\d+([-/.])\d+\1\d+")
"""what may be meant as a date"""


def with_quotes(line: str) -> str:
    """The expression with each bare date of the calendar in quotes; all else is as it was."""
    return PIECES.sub(_quoted, line)


def _quoted(found: re.Match[str]) -> str:
    piece = found[0]
    if found["date"] is None:
        return piece
    try:
        date.fromisoformat(piece)
    except ValueError:  # the parser says where
        return piece
    return f'"{piece}"'
