"""Vectors of items' texts, frozen or made by an encoder that learns, with the words and what reads further ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from interlingua.contracts.batch import FloatArray, Side
from interlingua.vectors.frozen import FrozenRows

Encode = Callable[[Sequence[str]], Tensor]


class ReadableRows(FrozenRows):
    """See :class:`interlingua.contracts.text.ReadableText`."""

    def __init__(
        self,
        items: Tensor | FloatArray,
        users: Tensor | FloatArray | None,
        *,
        titles: Sequence[str],
        texts: Sequence[str],
        encode: Encode,
    ) -> None:
        """The vectors (I, T) and (U, T), I titles, I texts, and what makes (n, T) vectors of n texts."""
        super().__init__(items, users)
        self.titles, self.texts, self._encode = list(titles), list(texts), encode

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(n, T) vectors of further texts."""
        return self._encode(texts)

    def reader(self, texts: Sequence[str]) -> Callable[[Tensor], Tensor]:
        """Their vectors, made now."""
        return _Stored(self.encode(texts).detach())

    def freeze(self) -> None:
        """It was so from the beginning."""


class _Stored:
    """(P, T) vectors, on the device where they were asked for last."""

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors

    def __call__(self, numbers: Tensor) -> Tensor:
        self.vectors = self.vectors.to(numbers.device)
        return self.vectors[numbers]


class ReadableEncoder(nn.Module):
    """An encoder that learns along, with the items' words; see :class:`interlingua.contracts.text.ReadableText`."""

    def __init__(self, source: Any, *, titles: Sequence[str], texts: Sequence[str]) -> None:
        """``source``: a text source that is trained, with ``reader``; I titles and I texts."""
        super().__init__()
        self.source, self.titles, self.texts = source, list(titles), list(texts)

    @property
    def dim(self) -> int:
        """T"""
        return int(self.source.dim)

    @property
    def has_users(self) -> bool:
        """Whether users have texts too."""
        return bool(self.source.has_users)

    @property
    def frozen(self) -> Tensor | None:
        """None: it learns."""
        found: Tensor | None = self.source.frozen
        return found

    def rows(self, side: Side, ids: Tensor | None = None) -> Tensor:
        """See :class:`interlingua.contracts.text.Text`."""
        found: Tensor = self.source.rows(side, ids)
        return found

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(n, T) vectors of further texts by the encoder as it stands, without gradient."""
        found: Tensor = self.source.encode(texts)
        return found

    def reader(self, texts: Sequence[str]) -> Callable[[Tensor], Tensor]:
        """What reads the texts anew at each call."""
        found: Callable[[Tensor], Tensor] = self.source.reader(texts)
        return found

    def freeze(self) -> None:
        """See :class:`interlingua.contracts.text.ReadableText`."""
        self.requires_grad_(False)
