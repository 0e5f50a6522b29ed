"""The ID vectors of users and items for prompts: scaled, and zero if there is none.

Items are shifted to mean zero, which changes every user's scores by a constant. Users are not: what all of them have in
common is what the dot product knows of an item's popularity.

Shape key: B queries, I items, D widths.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from interlingua.contracts.ranker import RankerInputs
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.injection.item_vectors import unlearned
from interlingua.injection.projector import standardise

STANDARD_USERS = 1024
"""training users from whom the scale of user vectors is taken"""


@torch.no_grad()
def user_scale(inputs: RankerInputs) -> Tensor:
    """() root mean square of the training users' vectors; 1 where there are none."""
    if inputs.user_scale is not None:
        return torch.tensor(inputs.user_scale)
    if inputs.user_embeddings is None:
        return torch.ones(())
    some = inputs.train.queries(np.arange(min(STANDARD_USERS, inputs.train.num_users)))
    return inputs.user_embeddings(some).detach().float().cpu().square().mean().sqrt().clamp_min(1e-8)


class IdVectors(nn.Module):
    """Inputs, not parameters: nothing of them is saved with a ranker.

    Args:
        inputs: an item without a training event keeps its vector only where its text made it (``items_from_text``).
        noise: random vectors, fixed for each user and item, instead of the backbone's; unknown users have zero.
    """

    items: Tensor
    """(I, D)"""
    unseen: Tensor
    """(I, D) each item's vector without events: the vector of its text, or zero"""
    scale: Tensor
    noise: Tensor | None
    """(U, D) or None"""

    def __init__(self, inputs: RankerInputs, noise: bool = False) -> None:
        super().__init__()
        self._embed_users = inputs.user_embeddings
        items = inputs.items.detach().float()
        if len(items) != len(inputs.titles):
            raise ConfigError(f"{len(items)} item vectors were given for {len(inputs.titles)} titles")
        seen = ~unlearned(inputs)
        if inputs.items_from_text is not None:
            seen = torch.ones_like(seen)
            seen[len(seen) - inputs.added :] = False  # they change no mean and no scale
        mean, scale = standardise(items[seen] if bool(seen.any()) else items)
        has_vector = seen | torch.as_tensor(inputs.items_from_text is not None)
        items = torch.where(has_vector[:, None], (items - mean) / scale, 0.0)
        without = torch.zeros_like(items)
        if inputs.items_from_text is not None:
            without = (inputs.items_from_text.detach().float() - mean) / scale
        generator = torch.Generator().manual_seed(0)
        self.user_dim = max(inputs.user_dim, 1)
        table = None
        if noise:
            items = without = torch.randn(items.shape, generator=generator)
            table = torch.randn(inputs.train.num_users, self.user_dim, generator=generator)
        self.register_buffer("noise", table, persistent=False)
        self.register_buffer("items", items, persistent=False)
        self.register_buffer("unseen", without, persistent=False)
        scale = torch.ones(()) if noise else user_scale(inputs)
        self.register_buffer("scale", scale, persistent=False)

    @property
    def item_dim(self) -> int:
        """D of items."""
        return int(self.items.shape[1])

    @torch.no_grad()
    def users(self, queries: Queries) -> Tensor:
        """(B, D) vectors of users as of their histories; zero for an empty history."""
        device = self.items.device
        known = torch.as_tensor(queries.lengths() > 0, device=device)
        if self.noise is not None:
            indices = torch.as_tensor(np.asarray(queries.users, np.int64), device=device)
            found = self.noise[indices.clamp_min(0)]
            known = indices >= 0
        elif self._embed_users is None:
            return torch.zeros(len(queries), self.user_dim, device=device)
        else:
            found = self._embed_users(queries).detach().float().to(device) / self.scale
        return torch.where(known[:, None], found, 0.0)
