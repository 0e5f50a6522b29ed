"""Prompts moved to the front of their rows, so that causal attention needs no mask.

Padding that lies behind a row is never seen by a causal model. Attention without a mask skips what lies above the
diagonal, forward and backward, which is half of its work; attention with a mask of padding computes all of it.
Shape key: B prompts, T prompt tokens, H input width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from interlingua.lm.models import LanguageModel


def to_front(embeds: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The same prompts with their padding behind, in the same order of tokens. Differentiable.

    Args:
        embeds: (B, T, H) input embeddings.
        mask: (B, T) 1 at tokens, 0 at padding, anywhere.

    Returns:
        (B, T, H) and (B, T).
    """
    mask = mask.to(embeds.device).long()
    if bool((mask[:, 1:] <= mask[:, :-1]).all()):
        return embeds, mask
    order = torch.argsort(mask, dim=1, descending=True, stable=True)
    indices = torch.arange(len(mask), device=embeds.device)[:, None]
    return embeds[indices, order], mask.gather(1, order)


def last_states(states: Tensor, mask: Tensor) -> Tensor:
    """(B, H') the state at each prompt's last real token, whatever the padding side."""
    places = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    last = torch.where(mask.bool(), places, -1).amax(1).clamp_min(0).to(states.device)
    return states[torch.arange(len(states), device=states.device), last]


def prompt_states(lm: LanguageModel, embeds: Tensor, mask: Tensor) -> Tensor:
    """(B, H') the state at each prompt's last token, with gradients to ``embeds`` (see :func:`to_front`)."""
    embeds, mask = to_front(embeds, mask)
    return last_states(lm.forward(embeds).states, mask)
