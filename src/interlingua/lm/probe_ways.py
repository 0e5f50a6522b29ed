"""The ways of reading prompts that the probe compares with a plain pass, each by the code that uses it.

Shape key: B = 2 prompts, T prompt tokens, K answer tokens, P prompt vectors, H' width of a state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from interlingua.lm.abilities import Abilities
from interlingua.lm.continuation import Continuation
from interlingua.lm.likelihood import Prefix, build_tree, run_nodes, run_prefix
from interlingua.lm.models import LanguageModel
from interlingua.lm.packed import packed_states
from interlingua.lm.prefix_attention import project, prompted

ANSWERS = 3
"""K"""
PROMPT = 2
"""P"""


@dataclass(frozen=True)
class Case:
    """Prompts with answers, and the states that a plain pass gives."""

    ids: Tensor
    """(B, T) the rows are full: behind the shorter prompt stand tokens that must not be seen"""
    lengths: tuple[int, int]
    answers: Tensor
    """(3, K)"""
    states: Sequence[Tensor]
    """B times (length, H')"""

    def mask(self, side: str) -> Tensor:
        """(B, T)."""
        places = torch.arange(self.ids.shape[1], device=self.ids.device)
        sizes = torch.tensor(self.lengths, device=self.ids.device)[:, None]
        return (places < sizes if side == "right" else places >= self.ids.shape[1] - sizes).long()

    def placed(self, side: str) -> Tensor:
        """(B, T) the prompts padded on a side."""
        if side == "right":
            return self.ids
        width = self.ids.shape[1]
        return torch.stack([self.ids[row].roll(width - length) for row, length in enumerate(self.lengths)])


def plain(lm: LanguageModel, ids: Tensor) -> Tensor:
    """(n, H') states of (n,) tokens, read as plainly as a model can be."""
    with torch.no_grad():
        states: Tensor = lm.decoder(input_ids=ids[None], use_cache=False).last_hidden_state[0]
    return states


def worst(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Largest distance of two lists of states, in units of the second's root mean square."""
    out = 0.0
    for got, expected in pairs:
        off = (got.float() - expected.float()).square().mean(-1).sqrt().max()
        out = max(out, float((off / expected.float().square().mean().sqrt()).nan_to_num(torch.inf)))
    return out


def padding(lm: LanguageModel, case: Case) -> float:
    """Both sides, with a mask."""
    pairs = []
    for side in ("left", "right"):
        mask = case.mask(side)
        states = lm.forward(lm.embed(case.placed(side)), mask).states
        pairs += [(states[row][mask[row].bool()], case.states[row]) for row in range(2)]
    return worst(pairs)


def cache(lm: LanguageModel, case: Case) -> float:
    """Left-padded prompts go on from their cache: token by token in a new order, and all candidates at once."""
    lm = replace(lm, abilities=Abilities(gap=0))  # padding stays on the left
    reading = Continuation(lm, lm.embed(case.placed("left")), case.mask("left"), 2)
    pairs = [(reading.state[row], case.states[row][-1]) for row in range(2)]
    one = case.answers[0]
    reading.add(one[:1].expand(3), torch.tensor([1, 0, 1]))
    reading.add(one[1:2].expand(3))
    pairs += [(reading.state[at], _after(lm, case, row, one[:2])) for at, row in enumerate((1, 0, 1))]
    prefix = run_prefix(lm, lm.embed(case.placed("left")), case.mask("left"), ANSWERS)
    again = prefix.fresh_cache()
    again.batch_repeat_interleave(3)
    tokens = case.answers.repeat(2, 1)
    mask = torch.cat([prefix.mask.repeat_interleave(3, 0), torch.ones_like(tokens)], 1)
    states = lm.forward(lm.embed(tokens), mask, cache=again).states[:, -1]
    pairs += [(states[at], _after(lm, case, at // 3, case.answers[at % 3])) for at in range(6)]
    return worst(pairs)


def gap(lm: LanguageModel, case: Case) -> float:
    """Right-padded prompts go on behind their padding."""
    prefix = run_prefix(lm, lm.embed(case.ids), case.mask("right"))
    tokens = case.answers[:1].repeat(2, 1)
    mask = torch.cat([prefix.mask, torch.ones_like(tokens)], 1)
    states = lm.forward(lm.embed(tokens), mask, cache=prefix.fresh_cache()).states[:, -1]
    return worst([(states[row], _after(lm, case, row, case.answers[0])) for row in range(2)])


def tree(lm: LanguageModel, case: Case) -> float:
    """All answers of both prompts in one pass."""
    prefix: Prefix = run_prefix(lm, lm.embed(case.ids), case.mask("right"))
    ids = case.answers.cpu().numpy()[None].repeat(2, 0)
    found = build_tree(ids, np.full(ids.shape[:2], ids.shape[2]))
    states = run_nodes(lm, prefix, found, np.arange(len(found.tokens)))
    ends = [(row, at, int(found.ends[row, at])) for row in range(2) for at in range(3)]
    return worst([(states[node], _after(lm, case, row, case.answers[at])) for row, at, node in ends])


def packed(lm: LanguageModel, case: Case) -> float:
    """Both prompts in one sequence, with gradients."""
    with torch.enable_grad():
        embeds = lm.embed(case.ids).requires_grad_(True)
        states, starts = packed_states(lm, embeds, case.mask("right"))
        torch.autograd.grad(states.square().sum(), embeds)
    first, second = (int(start) for start in starts)
    return worst([(states[first:second].detach(), case.states[0]), (states[second:].detach(), case.states[1])])


def prompts(lm: LanguageModel, case: Case) -> float:
    """What each layer reads of the first tokens is put in front of the others: as if those stood there."""
    length = case.lengths[1]
    if length <= PROMPT:
        raise ValueError("no room for a prompt")
    seen: list[Tensor] = []
    ids, modules = case.ids[1, :length], lm.attentions

    def look(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    handles = [module.register_forward_pre_hook(look, with_kwargs=True) for module in modules]
    try:
        plain(lm, ids)
    finally:
        for handle in handles:
            handle.remove()
    pairs = project(lm, {layer: states[:, :PROMPT] for layer, states in enumerate(seen)}, "before")
    embeds = lm.embed(ids[PROMPT:])[None]
    places = torch.arange(length - PROMPT, device=embeds.device)[None]
    errors = []
    for shift in (0, PROMPT):  # turned positions count from the text; added ones are part of what layers read
        with prompted(lm, pairs):
            states = lm.forward(embeds, positions=places + shift).states[0]
        errors.append(worst([(states, case.states[1][PROMPT:])]))
    return min(errors)


def _after(lm: LanguageModel, case: Case, row: int, answer: Tensor) -> Tensor:
    """(H',) the state at the end of a prompt with an answer."""
    return plain(lm, torch.cat([case.ids[row, : case.lengths[row]], answer]))[-1]


Way = Callable[[LanguageModel, Case], float]
WAYS: dict[str, Way] = {
    "padding": padding, "cache": cache, "gap": gap, "tree": tree, "packed": packed, "prompts": prompts,
}  # fmt: skip
"""ability -> the largest error of its way"""
