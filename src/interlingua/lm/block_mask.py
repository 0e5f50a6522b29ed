"""A causal model whose first layers let the tokens of one thing see each other, also those that come later.

"Context masking" of MixRec (arXiv 2408.07427): besides what comes before, a token of an item sees its own item whole.
The layer's attention is asked with a wider mask (see :mod:`interlingua.lm.attention`); the model's code stays as it is.

Shape key: B rows, T tokens, L things of a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from interlingua.errors import ConfigError
from interlingua.lm.attention import Attend, attached, attending
from interlingua.lm.models import LanguageModel


def things_of(starts: Tensor, stops: Tensor, width: int) -> Tensor:
    """(B, T) the number of the thing that each token belongs to, -1 for none.

    Args:
        starts: (B, L) each thing's first token; negative where there is none.
        stops: (B, L) the place behind its last token.
        width: T.
    """
    places = torch.arange(width, device=starts.device)
    inside = (places >= starts[..., None]) & (places < stops[..., None])  # (B, L, T)
    inside &= (starts >= 0)[..., None]
    number = torch.arange(starts.shape[1], device=starts.device)[None, :, None]
    return torch.where(inside, number, -1).amax(1) if starts.shape[1] else starts.new_full((len(starts), width), -1)


def same_thing(things: Tensor) -> Tensor:
    """(B, T, T) whether two tokens belong to one thing, of (B, T) numbers with -1 for none."""
    return (things[:, :, None] == things[:, None, :]) & (things >= 0)[:, :, None]


class _Blocks:
    """Widens the mask of chosen layers."""

    masked = True

    def __init__(self, layers: set[int], same: Tensor) -> None:
        """``layers``: identities of attentions; ``same``: (B, 1, T, T) what may be seen besides."""
        self.layers, self.same = layers, same

    def __call__(
        self, plain: Attend, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, options: Any
    ) -> tuple[Tensor, Any]:
        if id(module) not in self.layers:
            return plain(module, query, key, value, mask, **options)
        options.pop("is_causal", None)
        return plain(module, query, key, value, self._widened(mask, query), is_causal=False, **options)

    def _widened(self, mask: Tensor | None, query: Tensor) -> Tensor:
        same = self.same.to(query.device)
        if mask is None:
            length = query.shape[2]
            return same | torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
        if mask.dtype == torch.bool:
            return mask | same
        return torch.where(same, mask.new_zeros(()), mask)  # eager attention adds its mask


def check_blocks(lm: LanguageModel, option: str, masked: bool = True) -> None:
    """Refuses a model whose layers take no mask from outside.

    Args:
        lm: the model.
        option: what to set to 0 instead, for the message.
        masked: whether any layer shall have the mask; False: every model is good.

    Raises:
        ConfigError: it is one.
    """
    if masked and (not attached(lm.config) or not lm.abilities.prompts):
        raise ConfigError(
            f"{lm.name}: its attention takes no mask from outside, so the tokens of an item cannot see each other; set "
            f"{option} = 0, or take a model with a yes in the column 'prompts' of docs/results/language-models.md"
        )


@contextmanager
def seeing_things(lm: LanguageModel, layers: int, things: Tensor) -> Iterator[None]:
    """While open, every pass of ``lm`` over B rows of T tokens has the wider mask in its first layers.

    Args:
        lm: the model. Rows are padded behind, and read without a cache.
        layers: how many layers have it; 0: none.
        things: (B, T) see :func:`things_of`; padding is no thing.
    """
    if not layers:
        yield
        return
    chosen = {id(module) for module in lm.attentions[:layers]}
    with attending(_Blocks(chosen, same_thing(things)[:, None])):
        yield
