"""Fields of items for a click model: categories as embeddings, and dense vectors (of texts, of images) through a map.

Shape key: n items asked for, I items, D width of a field, V values, M values of an item at most, T width of a source.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.backbones._attribute_tokens import read_back, written
from interlingua.data.catalogue import values_in

NO_VALUE = 0
"""code where an item has no (further) value; values have codes from 1"""


class _Field(nn.Module):
    """What it holds of the items is stored with the weights, and takes the stored shape when it is loaded."""

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        for held in (self._buffers, self._parameters):
            for name, tensor in held.items():
                stored = state_dict.get(prefix + name)
                if tensor is not None and stored is not None and stored.shape != tensor.shape:
                    made = tensor.detach().new_empty(stored.shape)
                    held[name] = nn.Parameter(made) if isinstance(tensor, nn.Parameter) else made  # type: ignore[assignment]
        super()._load_from_state_dict(state_dict, prefix, *args)

    def with_buffers(self, **changed: Tensor) -> Self:
        """A copy with other buffers and the same weights."""
        other = copy.copy(self)
        other._buffers = {**self._buffers, **changed}
        return other


class CategoryField(_Field):
    """A column of the catalogue: the mean of the embeddings of an item's values, zero without any."""

    codes: Tensor
    written: Tensor

    def __init__(self, num_items: int, dim: int, std: float) -> None:
        super().__init__()
        self.std = std
        self.table = nn.Parameter(torch.empty(0, dim))
        self.register_buffer("codes", torch.zeros(num_items, 0, dtype=torch.int64))
        self.register_buffer("written", torch.zeros(0, dtype=torch.uint8))

    @property
    def is_read(self) -> bool:
        """Whether a column was taken in."""
        return len(self.written) > 0

    def take_in(self, items: pl.DataFrame, column: str) -> None:
        """Reads the values of ``column`` of I lines, and draws an embedding for each."""
        values = values_of(items, column)
        words = sorted({value for own in values for value in own})
        place = self.table.device
        self.written = written([column], words).to(place)
        self.codes = _codes(values, words).to(place)
        drawn = torch.empty(len(words), self.table.shape[1]).normal_(std=self.std)
        self.table = nn.Parameter(drawn.to(place))

    def forward(self, indices: Tensor) -> Tensor:
        """(n, D)"""
        codes = self.codes[indices]
        table = torch.cat([self.table.new_zeros(1, self.table.shape[1]), self.table])
        counts = (codes != NO_VALUE).sum(1, keepdim=True).clamp(min=1)
        return functional.embedding(codes, table).sum(1) / counts

    def read(self, items: pl.DataFrame) -> Tensor:
        """(n, M) codes of further lines; a value that the training did not have is left out."""
        (column,), words = read_back(self.written)
        return _codes(values_of(items, column), words)

    def longer(self, items: pl.DataFrame | None, count: int) -> Self:
        """A copy with ``count`` further items; None: nothing is known of them."""
        found = self.codes.new_zeros(count, 0) if items is None else self.read(items).to(self.codes)
        width = max(found.shape[1], self.codes.shape[1])
        parts = [functional.pad(each, (0, width - each.shape[1])) for each in (self.codes, found)]
        return self.with_buffers(codes=torch.cat(parts))


class DenseField(_Field):
    """Frozen vectors of the items through one linear map that is learned.

    The vectors are centred, and scaled to entries of mean square 1 over the items of the training.
    """

    vectors: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, num_items: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, 0))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("vectors", torch.zeros(num_items, 0))
        self.register_buffer("mean", torch.zeros(0))
        self.register_buffer("scale", torch.ones(()))

    def take_in(self, vectors: Tensor) -> None:
        """Keeps the vectors (I, T), and draws the map as PyTorch's Linear does."""
        place, dim = self.bias.device, len(self.bias)
        drawn = nn.Linear(vectors.shape[1], dim)
        self.weight, self.bias = nn.Parameter(drawn.weight.data.to(place)), nn.Parameter(drawn.bias.data.to(place))
        self.mean = vectors.mean(0).to(place)
        self.scale = (vectors.to(place) - self.mean).square().mean().sqrt().clamp(min=1e-12)
        self.vectors = self._scaled(vectors)

    def _scaled(self, vectors: Tensor) -> Tensor:
        return (vectors.to(self.mean) - self.mean) / self.scale

    def forward(self, indices: Tensor) -> Tensor:
        """(n, D)"""
        return functional.linear(self.vectors[indices], self.weight, self.bias)

    def longer(self, vectors: Tensor) -> Self:
        """A copy with n further items, by their vectors (n, T)."""
        return self.with_buffers(vectors=torch.cat([self.vectors, self._scaled(vectors)]))


def values_of(items: pl.DataFrame, column: str) -> list[list[str]]:
    """(n,) the distinct values of each line."""
    if column not in items.columns:
        return [[] for _ in range(items.height)]
    return [list(dict.fromkeys(values_in(column, cell))) for cell in items[column].to_list()]


def _codes(values: Sequence[Sequence[str]], words: Sequence[str]) -> Tensor:
    """(n, M) places of the values among ``words``, from 1; :data:`NO_VALUE` behind."""
    known = {word: place + 1 for place, word in enumerate(words)}
    found = [[known[value] for value in own if value in known] for own in values]
    width = max((len(row) for row in found), default=0)
    filled = [row + [NO_VALUE] * (width - len(row)) for row in found]
    return torch.tensor(filled, dtype=torch.int64).reshape(len(found), width)
