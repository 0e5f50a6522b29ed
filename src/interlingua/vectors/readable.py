"""Frozen vectors of items' texts, with the words themselves and the encoder that reads further ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from interlingua.contracts.batch import FloatArray
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
