"""Vectors of texts: a frozen table and a trainable encoder look the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from interlingua.contracts.batch import Side


class Text(Protocol):
    """Item or user texts as vectors: a frozen table and a trainable encoder look the same."""

    @property
    def dim(self) -> int:
        """T"""
        ...

    @property
    def has_users(self) -> bool:
        """Whether users have vectors too."""
        ...

    @property
    def frozen(self) -> Tensor | None:
        """(I, T) vectors of the items, if they are frozen; None: the encoder is trained together with its reader."""
        ...

    def rows(self, side: Side, ids: Tensor | None = None) -> Tensor:
        """(n, T) vectors of the given users or items, or of all."""
        ...


class Encoder(Protocol):
    """Reads texts that came after training."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(n, T) vectors, as those of the catalogue's texts were made."""
        ...


class ReadableText(Text, Encoder, Protocol):
    """Vectors with the words that they are made of, and the encoder: who asks for ``text.encoder`` gets one."""

    @property
    def titles(self) -> Sequence[str]:
        """(I,) the items' titles."""
        ...

    @property
    def texts(self) -> Sequence[str]:
        """(I,) the items' texts, as the encoder read them."""
        ...

    def reader(self, texts: Sequence[str]) -> Callable[[Tensor], Tensor]:
        """A function of numbers (n,) of these texts that gives their vectors (n, T).

        Of a frozen encoder they are made here, once; one that learns reads the texts at each call, with gradients.
        """
        ...

    def freeze(self) -> None:
        """The encoder learns no more: from here on its weights are neither trained nor stored."""
        ...
