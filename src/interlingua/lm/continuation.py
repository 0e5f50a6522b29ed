"""Prompts that are continued token by token: from their key/value cache, or read again where a cache would be inexact.

Shape key: B prompts, T prompt tokens, R rows that go on, H input width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from interlingua.lm.likelihood import run_prefix
from interlingua.lm.models import LanguageModel
from interlingua.lm.padding import last_states, to_front


class Continuation:
    """A batch of prompts and the tokens added to each."""

    state: Tensor
    """(R, H') the state at each row's last token"""

    def __init__(self, lm: LanguageModel, embeds: Tensor, mask: Tensor, room: int) -> None:
        """Reads prompts.

        Args:
            lm: the model.
            embeds: (B, T, H) prompts.
            mask: (B, T) 1 at tokens, either padding side.
            room: tokens that may be added.
        """
        self._lm, self._cache = lm, None
        if embeds.shape[1] + room <= lm.abilities.cache:
            prefix = run_prefix(lm, embeds, mask, room)
            self._cache, self._mask, self.state = prefix.fresh_cache(), prefix.mask, prefix.last
        else:
            self._embeds, self._mask = to_front(embeds, mask)
            self._read()

    def add(self, tokens: Tensor, indices: Tensor | None = None) -> None:
        """Continues some rows, in a new order.

        Args:
            tokens: (R,) the next token of each, or (R, N) several tokens.
            indices: (R,) the earlier row that each continues; None: all, in order.
        """
        tokens = tokens[:, None] if tokens.dim() == 1 else tokens
        new = self._lm.embed(tokens)
        indices = (
            torch.arange(len(tokens), device=self._mask.device) if indices is None else indices.to(self._mask.device)
        )
        self._mask = torch.cat([self._mask[indices], self._mask.new_ones(tokens.shape)], 1)
        if self._cache is None:
            self._embeds, self._mask = to_front(torch.cat([self._embeds[indices], new], 1), self._mask)
            self._read()
            return
        self._cache.reorder_cache(indices)
        self.state = self._lm.forward(new, self._mask, cache=self._cache).states[:, -1]

    def _read(self) -> None:
        self.state = last_states(self._lm.forward(self._embeds).states, self._mask)
