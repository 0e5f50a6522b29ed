"""The second view of items in sequence models with an ID table *and* texts: the texts, and what is made of them.

Shape key: I items, T text width, D width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.contracts.text import Text
from interlingua.data.interactions import Interactions
from interlingua.errors import ConfigError
from interlingua.nn.whitening import principal


class TextView(nn.Module):
    """Every item's text, frozen, through a map that is learned; and the ID vectors that the texts give at first.

    These are the first D principal components of the texts. Those of items without training events stay there, so that
    an item that comes later is what it would have been in training.
    """

    texts: Tensor
    learned: Tensor
    mean: Tensor
    axes: Tensor

    def __init__(self, train: Interactions, dim: int, make_mapper: Callable[[int], nn.Module]) -> None:
        """``make_mapper``: T -> the map from texts (n, T) to (n, D), made when the texts are there."""
        super().__init__()
        self.make_mapper = make_mapper
        self.mapper: nn.Module = nn.Identity()
        self.register_buffer("texts", torch.zeros(train.num_items, 0))
        self.register_buffer("learned", torch.as_tensor(train.item_counts > 0)[:, None])
        self.register_buffer("mean", torch.zeros(0))
        self.register_buffer("axes", torch.zeros(0, dim))

    @torch.no_grad()
    def take_in(self, text: Text | None, reader: str) -> Tensor:
        """Keeps the texts and makes their map; the first ID vectors (I, D).

        Raises:
            ConfigError: no texts were given to the backbone ``reader``.
        """
        if text is None:
            raise ConfigError(
                f"backbone {reader!r} reads item texts, but the recipe has no [text] section; add one, e.g. "
                "name = 'lsa'"
            )
        table, (dim, place) = text.rows("items").detach().float(), (self.axes.shape[1], self.axes.device)
        mean, axes, _ = principal(table, dim)
        self.texts, self.mean = table.to(place), mean.float().to(place)
        self.axes = functional.pad(axes.float(), (0, dim - axes.shape[1])).to(place)
        self.mapper = self.make_mapper(table.shape[1]).to(place)
        return self.first(self.texts)

    def first(self, texts: Tensor) -> Tensor:
        """(n, D) principal components of texts (n, T); zeros where there are fewer directions."""
        return (texts - self.mean) @ self.axes

    def ids(self, table: Tensor) -> Tensor:
        """(I, D) the ID vectors, without a gradient for items that have no training event."""
        return torch.where(self.learned, table, table.detach())

    def forward(self, indices: Tensor | None = None) -> Tensor:
        """(n, D) the mapped texts of ``indices`` (n,), or of all items."""
        made: Tensor = self.mapper(self.texts if indices is None else self.texts[indices])
        return made

    def at(self, indices: Tensor) -> Tensor:
        """(B, L, D) the mapped texts of ``indices`` (B, L); each distinct item is mapped once."""
        distinct, places = indices.unique(return_inverse=True)
        return functional.embedding(places, self(distinct))

    def longer(self, texts: Tensor) -> Self:
        """A copy with n further items, by their texts (n, T)."""
        other = copy.copy(self)
        other._buffers = dict(self._buffers)
        other.texts = torch.cat([self.texts, texts])
        other.learned = torch.cat([self.learned, self.learned.new_zeros(len(texts), 1)])
        return other

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Buffers take the stored shapes, and the map is made for texts as wide as the stored ones.

        A map of that width stays the object that it is: an optimiser may hold its weights (a training that goes on).
        """
        before = self.texts.shape[1]
        for name, buffer in self._buffers.items():
            stored = state_dict.get(prefix + name)
            if buffer is not None and stored is not None and stored.shape != buffer.shape:
                self._buffers[name] = buffer.new_empty(stored.shape)
        if self.texts.shape[1] != before:
            self.mapper = self.make_mapper(self.texts.shape[1]).to(self.texts.device)
        super()._load_from_state_dict(state_dict, prefix, *args)
