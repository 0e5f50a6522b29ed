"""Counts and reports texts that an encoder cannot distinguish: equal vectors, zero vectors, cut texts."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from interlingua.contracts.batch import FloatArray
from interlingua.progress import say

DIGITS = 4
"""unit vectors that agree to so many digits are one: batches of other lengths move the last bits"""
MULTILINGUAL = "paraphrase-multilingual-MiniLM-L12-v2"
"""An encoder of some fifty languages on the Hugging Face hub"""


@runtime_checkable
class Examined(Protocol):
    """A text source that has examined its own vectors."""

    notes: dict[str, int]


def notes_of(source: Any) -> dict[str, int]:
    """A source's counts, for the card; empty if it does not count."""
    return dict(source.notes) if isinstance(source, Examined) else {}


def same_vectors(texts: Sequence[str], vectors: FloatArray) -> list[list[str]]:
    """Groups of different texts whose vectors point the same way; zero vectors and equal texts are no group."""
    if not len(texts):
        return []
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.round(vectors / np.where(lengths > 1e-12, lengths, 1.0), DIGITS) + 0.0  # no negative zeros
    groups: dict[bytes, dict[str, None]] = {}
    for row in np.flatnonzero(lengths[:, 0] > 1e-12).tolist():
        groups.setdefault(unit[row].tobytes(), {})[texts[row]] = None
    return [list(group) for group in groups.values() if len(group) > 1]


def examine(
    texts: Sequence[str], vectors: FloatArray, what: str, *, cut: int = 0, limit: str = "", remedy: str = ""
) -> dict[str, int]:
    """Counts and reports texts that the vectors do not distinguish.

    Args:
        texts: n texts.
        vectors: (n, T)
        what: ``item`` or ``user``.
        cut: texts of which the encoder read only the beginning.
        limit: how much it reads, and the option for it.
        remedy: what helps where texts get equal or zero vectors.

    Returns:
        ``different texts with an equal vector``, ``texts with a zero vector``, ``texts cut``: those above none.
    """
    groups = same_vectors(texts, vectors)
    equal = sum(len(group) for group in groups)
    nothing = np.flatnonzero(~np.asarray(vectors).any(axis=1)).tolist() if len(vectors) else []
    if equal:
        example = " and ".join(repr(text[:60]) for text in groups[0][:2])
        say(f"warning: {equal:,} different {what} texts share their vector with another (e.g. {example}){remedy}")
    if len(nothing):
        say(f"warning: {len(nothing):,} {what} texts get a zero vector (e.g. {texts[nothing[0]][:60]!r}){remedy}")
    if cut:
        say(f"note: {cut:,} of {len(texts):,} {what} texts are longer than what is read of them ({limit})")
    counts = {"different texts with an equal vector": equal, "texts with a zero vector": len(nothing), "texts cut": cut}
    return {f"{what}: {name}": int(count) for name, count in counts.items() if count}


def mostly_latin(texts: Sequence[str]) -> bool:
    """Whether most letters of some texts are Latin, Greek or Cyrillic: English encoders know them."""
    letters = [c for text in texts[:2000] for c in text[:200] if c.isalpha()]
    known = sum(unicodedata.name(c, "").startswith(("LATIN", "GREEK", "CYRILLIC")) for c in letters)
    return known * 2 >= len(letters) > 0


def remedy_for(groups: Sequence[list[str]], option: str) -> str:
    """Words to set behind a warning: another encoder for other scripts, a longer reading for texts of known ones."""
    known = [mostly_latin(group) for group in groups]
    words = []
    if not all(known) or not groups:
        words.append(f"of a script it does not know: text.model = {MULTILINGUAL!r} reads some fifty languages")
    if any(known):
        words.append(f"different only beyond what is read of them: {option}")
    return "".join(f"; {each}" for each in words)
