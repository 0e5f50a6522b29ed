"""What may be written, as alternatives of whole phrases: a language model chooses among them, and can write no other.

A wording is a phrase, several in a row (:func:`row`), or alternatives (:func:`either`). It is opened step by step:
however many texts it allows, only the phrases that may come next are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Phrase:
    """Words that are written as a whole, with the space or mark before them."""

    text: str
    tags: tuple[str, ...] = ()
    """the caller's labels of the phrase"""

    def __post_init__(self) -> None:
        if not self.text:
            raise ValueError("a phrase has at least one character")


@dataclass(frozen=True)
class Row:
    """Several wordings in a row."""

    parts: tuple[Wording, ...]


@dataclass(frozen=True)
class Either:
    """One of several wordings."""

    parts: tuple[Wording, ...]


Wording: TypeAlias = Phrase | Row | Either
Rest: TypeAlias = tuple[Wording, ...]
"""what is still to be written, in order"""
NOTHING = Row(())


def row(*parts: Wording) -> Row:
    """All of them, in order."""
    return Row(parts)


def either(*parts: Wording) -> Either:
    """One of them; without any, nothing can be written."""
    return Either(parts)


def maybe(*parts: Wording) -> Either:
    """All of them, or nothing."""
    return Either((Row(parts), NOTHING))


def next_phrases(rest: Rest) -> Iterator[tuple[Phrase | None, Rest]]:
    """(a phrase that may come next, what may follow it); (None, ()) where all may be over."""
    if not rest:
        yield None, ()
        return
    first, behind = rest[0], rest[1:]
    match first:
        case Phrase():
            yield first, behind
        case Row():
            yield from next_phrases((*first.parts, *behind))
        case Either():
            for part in first.parts:
                yield from next_phrases((part, *behind))


def longest(wording: Wording, count: Callable[[str], int]) -> int:
    """The most that a text of a wording can count to, where ``count`` gives a phrase's part (its tokens)."""
    match wording:
        case Phrase():
            return count(wording.text)
        case Row():
            return sum(longest(part, count) for part in wording.parts)
        case Either():
            return max((longest(part, count) for part in wording.parts), default=0)


def texts(wording: Wording) -> Iterator[tuple[Phrase, ...]]:
    """Every text that a wording allows; for small ones and tests."""
    open_: list[tuple[tuple[Phrase, ...], Rest]] = [((), (wording,))]
    while open_:
        done, rest = open_.pop()
        for phrase, behind in next_phrases(rest):
            if phrase is None:
                yield done
            else:
                open_.append(((*done, phrase), behind))
