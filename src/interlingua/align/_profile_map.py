"""The two-layer network between text and backbone space that RLMRec's aligners share, and checks of a batch.

Shape key: n rows, T text width, D backbone width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from interlingua.contracts.text import Text
from interlingua.data.queries import PAD
from interlingua.errors import ConfigError


def profile_map(source_dim: int, target_dim: int) -> nn.Sequential:
    """Linear, LeakyReLU, Linear with a hidden width half-way between both ends; Xavier weights (RLMRec's code)."""
    hidden = (source_dim + target_dim) // 2
    layers = nn.Sequential(nn.Linear(source_dim, hidden), nn.LeakyReLU(), nn.Linear(hidden, target_dim))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
    return layers


def needed(text: Text | None, name: str) -> Text:
    """The text source.

    Raises:
        ConfigError: there is none.
    """
    if text is None:
        raise ConfigError(f"the aligner {name!r} joins a backbone with texts: the recipe needs a [text] section")
    return text


def need_users(text: Text, name: str) -> None:
    """Raises unless the text source has user vectors.

    Raises:
        ConfigError: it has none.
    """
    if not text.has_users:
        raise ConfigError(
            f"the aligner {name!r} needs user vectors with this backbone: set text.users = 'items' (the mean of a "
            "user's training items) or 'texts' (the dataset's own user texts)"
        )


def present(indices: Tensor) -> Tensor:
    """(n,) the indices in a batch's tensor of any shape, without padding."""
    flat = indices.reshape(-1)
    return flat[flat != PAD] if bool((flat == PAD).any()) else flat


def typical_length(vectors: Tensor) -> Tensor:
    """The median length of the rows (n, D), a scalar."""
    return vectors.norm(dim=1).median() if len(vectors) else torch.ones(())
