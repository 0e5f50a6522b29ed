"""What sequence models with an ID table *and* texts share: the texts they keep, and the first ID vectors made of them.

Shape key: I items, T text width, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.backbones.sasrec import SasRec, SasRecConfig
from interlingua.contracts.added import AddedItems
from interlingua.contracts.text import Text
from interlingua.data.interactions import Interactions
from interlingua.errors import ConfigError
from interlingua.nn.whitening import principal


class TextViews(SasRec):
    """SASRec with a second view of every item: its text, frozen, through a map that is learned.

    ID vectors start as the first D principal components of the texts. Those of items without training events stay
    there, so that an item that comes later is what it would have been in training.
    """

    needs_text = True

    texts: Tensor
    learned: Tensor
    mean: Tensor
    axes: Tensor

    def __init__(self, config: SasRecConfig, train: Interactions) -> None:
        super().__init__(config, train)
        dim = config.embedding_dim
        self.mapper: nn.Module = nn.Identity()
        self.register_buffer("texts", torch.zeros(train.num_items, 0))
        self.register_buffer("learned", torch.as_tensor(train.item_counts > 0)[:, None])
        self.register_buffer("mean", torch.zeros(0))
        self.register_buffer("axes", torch.zeros(0, dim))

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """No inputs that an aligner may change: it has joined with texts already."""
        return super().makes(config) - {"inputs"}

    def make_mapper(self, width: int) -> nn.Module:
        """The map from texts (n, ``width``) to (n, D)."""
        raise NotImplementedError

    def mapped(self) -> Tensor:
        """(I, D) the texts, mapped."""
        made: Tensor = self.mapper(self.texts)
        return made

    @torch.no_grad()
    def start(self, train: Interactions, text: Text | None) -> None:
        """Keeps the texts, makes their map, and sets the ID vectors to the texts' principal components.

        Raises:
            ConfigError: no texts were given.
        """
        if text is None:
            raise ConfigError(
                f"{type(self).__name__} reads item texts, but the recipe has no [text] section; add one, e.g. "
                "name = 'lsa'"
            )
        table = text.rows("items").detach().float()
        mean, axes, _ = principal(table, self.items.shape[1])
        place = self.items.device
        self.texts = table.to(place)
        self.mean = mean.float().to(place)
        self.axes = functional.pad(axes.float(), (0, self.items.shape[1] - axes.shape[1])).to(place)
        self.items.copy_(self._first(self.texts))
        self.mapper = self.make_mapper(table.shape[1]).to(place)

    def _first(self, texts: Tensor) -> Tensor:
        """(n, D) principal components of texts (n, T); zeros where there are fewer directions."""
        return (texts - self.mean) @ self.axes

    def ids(self, table: Tensor) -> Tensor:
        """(I, D) the ID vectors, without a gradient for items that have no training event."""
        return torch.where(self.learned, table, table.detach())

    def extended(self, added: AddedItems) -> Self | None:
        """An item without an event is its text, and its text's principal components as ID vector."""
        if added.text is None:
            return None
        new = added.text.to(self.texts)
        return self.longer(
            added,
            items=torch.cat([self.items.detach(), self._first(new)]),
            texts=torch.cat([self.texts, new]),
            learned=torch.cat([self.learned, self.learned.new_zeros(len(new), 1)]),
        )

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """The map is made for texts as wide as the stored ones."""
        stored = state_dict.get(f"{prefix}texts")
        if stored is not None and stored.shape[1]:
            self.mapper = self.make_mapper(stored.shape[1]).to(self.items.device)
        super()._load_from_state_dict(state_dict, prefix, *args)
