"""What a language model does exactly, besides reading one prompt from left to right (see :mod:`interlingua.lm.probe`).

Every ability is a length: prompts with answers of so many tokens come out as by a plain forward pass. 0 is never,
:data:`ANY` always; a model with an attention window may be exact up to the window only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

ANY = 1 << 30
"""no limit that a prompt reaches"""


@dataclass(frozen=True)
class Abilities:
    """Lengths in tokens."""

    padding: int = ANY
    """rows padded on the left or on the right, with a mask. Without it rows are moved to the front and read without"""
    cache: int = ANY
    """left-padded prompts, continued from their key/value cache. Without it they are read again with every token"""
    gap: int = ANY
    """right-padded prompts, continued behind the padding"""
    tree: int = ANY
    """a tree of continuations in one pass, by a 4-dimensional mask. Without it every candidate is a row of its own"""
    packed: int = ANY
    """prompts joined to one sequence, in training. Without it they are padded"""
    prompts: int = ANY
    """keys and values in front of every layer's (RA-Rec). Without it only input tokens can carry a vector"""
    reasons: dict[str, str] = field(default_factory=dict)
    """short reasons for missing abilities"""

    def to_dict(self) -> dict[str, Any]:
        """The entry for the cache folder."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Abilities:
        """From :meth:`to_dict`; a missing or unknown entry is a ``KeyError``."""
        names = {each.name for each in fields(cls)}
        if set(found) != names:
            raise KeyError(f"abilities: {sorted(set(found) ^ names)}")
        return cls(**found)
