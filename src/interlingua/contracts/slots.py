"""The content of a template's slots, apart from words of the domain, titles and lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Slot:
    """One kind of place in a prompt: vectors (soft tokens), or texts that are tokenised once."""

    of: Literal["query", "item"]
    """``query``: in the body, one for each prompt; ``item``: in the entries of lists, one for each item"""
    texts: Sequence[str] | None = None
    """None: vectors. Else one text per item, or texts that queries choose by index"""
    length: int = 1
    """number of consecutive vectors in one place"""
