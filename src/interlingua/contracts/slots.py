"""What a ranker puts into the slots of a template, beside words of the domain, titles and lists."""

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
    """None: vectors. Else the text of each item index, or of each row that a query names"""
    length: int = 1
    """vectors that stand one after the other in one place"""
