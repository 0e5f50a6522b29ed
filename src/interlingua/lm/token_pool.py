"""Ids of all pieces of prompts: tokenised once, kept in one flat pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from interlingua.lm.models import LanguageModel
from interlingua.lm.template import Piece

Ids = npt.NDArray[np.int64]


class Pool:
    """Grows the flat pool of ids."""

    def __init__(self) -> None:
        self.flat: list[int] = []
        self.sizes: list[int] = []

    def add(self, ids: Sequence[int]) -> int:
        """One more piece; returns its number."""
        self.flat.extend(ids)
        self.sizes.append(len(ids))
        return len(self.sizes) - 1

    def arrays(self) -> tuple[Ids, Ids, Ids]:
        """All ids, and the start and length of each piece."""
        sizes = np.asarray(self.sizes, np.int64)
        return np.asarray(self.flat, np.int64), np.cumsum(sizes) - sizes, sizes


class TitleIds:
    """Token ids of a catalogue's titles, tokenised once for all templates that print them.

    Args:
        lm: whose tokenizer.
        titles: (I,) titles.
        limit: longer titles are cut.
    """

    def __init__(self, lm: LanguageModel, titles: Sequence[str], limit: int | None) -> None:
        self._lm, self._titles, self._limit = lm, titles, limit
        self._ids: dict[str, list[list[int]]] = {}

    def __len__(self) -> int:
        return len(self._titles)

    def of(self, before: str) -> list[list[int]]:
        """(I,) ids of the titles, each behind some text (a space, or none)."""
        if before not in self._ids:
            made = plain_ids(self._lm, [f"{before}{title}" for title in self._titles])
            self._ids[before] = [ids[: self._limit] for ids in made]
        return self._ids[before]


class Tokens:
    """Token ids of literals, titles and a ranker's own texts, each tokenised once.

    Args:
        lm: whose tokenizer.
        titles: the catalogue's.
        texts: slot -> (I,) texts.
        vectors: slot -> what stands for its vectors in place of ids.
    """

    def __init__(
        self, lm: LanguageModel, titles: TitleIds, texts: Mapping[str, Sequence[str]], vectors: Mapping[str, list[int]]
    ) -> None:
        self._lm, self._titles, self._texts, self._vectors = lm, titles, texts, vectors
        self._literals: dict[tuple[str, bool], list[int]] = {}
        self._ids: dict[str, list[list[int]]] = {}

    def literal(self, text: str, *, special: bool = False) -> list[int]:
        """A piece of the template; only there may the markers of a chat be written."""
        key = (text, special)
        if key not in self._literals:
            self._literals[key] = plain_ids(self._lm, [text], special=special)[0] if text else []
        return self._literals[key]

    def entry(self, pieces: Sequence[Piece], row: int) -> list[int]:
        """One item as the entry's pieces say it."""
        out: list[int] = []
        for piece in pieces:
            if piece.kind == "text":
                out += self.literal(piece.text)
            elif piece.kind in self._vectors:
                out += self._vectors[piece.kind]
            else:
                out += self._text(piece.kind)[row]
        return out

    def _text(self, kind: str) -> list[list[int]]:
        """Ids of a slot's texts; a kind that begins with a space has one before each text."""
        name = kind.strip()
        before = " " if kind != name else ""
        if name == "title":
            return self._titles.of(before)
        if kind not in self._ids:
            self._ids[kind] = plain_ids(self._lm, [f"{before}{text}" for text in self._texts[name]])
        return self._ids[kind]


def plain_ids(lm: LanguageModel, texts: list[str], *, special: bool = False) -> list[list[int]]:
    """Titles are other people's text: ``<|im_end|>`` in one is ten characters, not the end of the turn."""
    if not texts:
        return []
    return list(lm.tokenizer(texts, add_special_tokens=False, split_special_tokens=not special)["input_ids"])
