"""States behind prompts of which several begin alike: what they have in common is read once, without gradients.

A question about one item after a user's history is asked for each candidate. The instruction and the history come
first and are the same: they run once and leave a key/value cache. What is left of each prompt runs behind it, all of a
group's as one sequence in which a token sees the common part and its own prompt only. The states are those of plain
passes, to rounding.

Shape key: N prompts, T tokens, H input width, H' width of a state, G groups, P common tokens, W tokens behind them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from interlingua.data.queries import IntArray
from interlingua.lm import padding
from interlingua.lm.likelihood import run_prefix
from interlingua.lm.models import LanguageModel

MOST = 0.75
"""tokens that are read, as a part of those that plain passes read, above which plain passes are as fast"""


@torch.no_grad()
def grouped_states(lm: LanguageModel, embeds: Tensor, mask: Tensor, groups: IntArray) -> Tensor:
    """(N, H') the state at each prompt's last token.

    Args:
        lm: the model. One that reads no tree of continuations exactly reads every prompt by itself, and so does each
            where less than a quarter of the tokens would be saved.
        embeds: (N, T, H) input embeddings.
        mask: (N, T) 1 at tokens, 0 at padding, either side.
        groups: (N,) prompts with one number may begin alike: what all of a group have in common is found here.
    """
    embeds, mask = padding.to_front(embeds, mask)
    first, which = np.unique(np.asarray(groups), return_index=True, return_inverse=True)[1:]
    if len(first) == len(embeds) or embeds.shape[1] > min(lm.abilities.cache, lm.abilities.tree, lm.abilities.gap):
        return padding.prompt_states(lm, embeds, mask)
    owners, starts = torch.as_tensor(which, device=embeds.device), torch.as_tensor(first, device=embeds.device)
    common = _common(embeds, mask, owners, starts)
    rest = _rest(mask.sum(1), common, owners)
    width = int(common.max())
    if not width or len(first) * (width + rest.width) > MOST * embeds.shape[0] * embeds.shape[1]:
        return padding.prompt_states(lm, embeds, mask)
    before = (torch.arange(width, device=embeds.device) < common[:, None]).long()
    prefix = run_prefix(lm, embeds[starts, :width], before, embeds.shape[1] - width)
    behind = embeds.new_zeros(len(first), rest.width, embeds.shape[2])
    behind[owners[rest.prompts], rest.columns] = embeds[rest.prompts, rest.places]
    positions = common[:, None].repeat(1, rest.width)
    positions[owners[rest.prompts], rest.columns] = rest.places
    sees = torch.cat([before.bool()[:, None].expand(-1, rest.width, -1), rest.sees(owners, len(first))], 2)
    states = lm.forward(behind, sees[:, None], cache=prefix.fresh_cache(), positions=positions).states
    return states[owners, rest.last]


def _common(embeds: Tensor, mask: Tensor, owners: Tensor, starts: Tensor) -> Tensor:
    """(G,) tokens with which all prompts of a group begin; each prompt has at least one more.

    Args:
        embeds: (N, T, H), padded behind.
        mask: (N, T).
        owners: (N,) group of each prompt.
        starts: (G,) first prompt of each group.
    """
    alike = (embeds == embeds[starts[owners]]).all(-1) & mask.bool()
    lengths = torch.minimum(alike.long().cumprod(1).sum(1), mask.sum(1) - 1)
    most = lengths.new_full((len(starts),), embeds.shape[1])
    return most.scatter_reduce(0, owners, lengths, "amin")


@dataclass(frozen=True)
class _Rest:
    """The tokens behind the common ones, a group's prompts one after the other."""

    prompts: Tensor
    """(n,) prompt of each token"""
    places: Tensor
    """(n,) its place in the prompt"""
    columns: Tensor
    """(n,) its place in the group's sequence"""
    last: Tensor
    """(N,) column of each prompt's last token"""
    width: int
    """W, of the longest sequence"""

    def sees(self, owners: Tensor, count: int) -> Tensor:
        """(G, W, W) whether a token sees another one of its own prompt, itself included; padding sees padding."""
        of = self.prompts.new_full((count, self.width), -1)
        of[owners[self.prompts], self.columns] = self.prompts
        return (of[:, :, None] == of[:, None, :]).tril()


def _rest(lengths: Tensor, common: Tensor, owners: Tensor) -> _Rest:
    """Where the tokens behind the common ones come to lie.

    Args:
        lengths: (N,) tokens of each prompt.
        common: (G,) of them, what a group has in common.
        owners: (N,) group of each prompt.
    """
    sizes = lengths - common[owners]
    order = torch.argsort(owners, stable=True)
    ends = sizes[order].cumsum(0)
    totals = sizes.new_zeros(len(common)).scatter_add(0, owners, sizes)
    begins = (totals.cumsum(0) - totals)[owners]
    last = torch.empty_like(sizes)
    last[order] = ends - 1
    last = last - begins
    prompts = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
    inner = torch.arange(len(prompts), device=sizes.device) - (sizes.cumsum(0) - sizes)[prompts]
    columns = (last - sizes + 1)[prompts] + inner
    return _Rest(prompts, common[owners][prompts] + inner, columns, last, int(totals.max()))
