"""Token by token through a causal model: a shared beginning is read once, and one pass writes all fields of an answer.

Shape key: B questions, P tokens of the beginning that all of them share, T tokens of the longest rest, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from interlingua.cache_argument import cache_name, cache_of
from interlingua.text.completion import Sampling

PENALTY = 1.15
"""logits of tokens that the answer has already are divided by it (multiplied where negative; Keskar et al. 2019):
models of this size repeat themselves without it. The prompt's tokens are not penalised."""


@dataclass
class Writing:
    """One answer in the making."""

    rooms: list[int]
    """tokens at most of each field"""
    bridges: list[list[int]]
    """token ids written for the model between one field and the next"""
    fields: list[list[int]] = field(default_factory=lambda: [[]])
    """token ids that the model chose, field by field"""
    forced: list[int] = field(default_factory=list)
    done: bool = False

    def take(self, token: int, ends: bool) -> int:
        """Takes the model's choice, or what is written for it; returns the token that goes into the prompt."""
        if self.forced:
            return self.forced.pop(0)
        if self.done:
            return token
        current = self.fields[-1]
        current.append(token)  # the closing one too: it may hold the full stop
        if ends or len(current) >= self.rooms[len(self.fields) - 1]:
            if len(self.fields) > len(self.bridges):
                self.done = True
                return token
            bridge = self.bridges[len(self.fields) - 1]
            self.fields.append([])
            if ends:  # the closing token is replaced by the bridge, which closes too
                self.forced = bridge[1:]
                return bridge[0]
            self.forced = list(bridge)
        return token


def shared_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """P: tokens that all prompts begin with; at least one token of each is left over."""
    most = min(len(ids) for ids in prompts) - 1
    first = prompts[0]
    for position in range(most):
        if any(ids[position] != first[position] for ids in prompts):
            return position
    return max(most, 0)


@torch.inference_mode()
def write_answers(
    model: Any,
    prompts: Sequence[list[int]],
    writings: Sequence[Writing],
    ends: Tensor,
    banned: Tensor,
    pad: int,
    sampling: Sampling,
) -> None:
    """Fills ``writings`` in place.

    Args:
        model: a transformers causal language model.
        prompts: B lists of token ids.
        writings: B answers, empty.
        ends: (V,) whether a token closes a field.
        banned: (V,) whether a token is never chosen.
        pad: a token for padded places.
        sampling: greedy where ``temperature`` is None or 0.
    """
    device = model.get_input_embeddings().weight.device
    prefix = shared_prefix(prompts) if len(prompts) > 1 else 0
    rests = [list(ids[prefix:]) for ids in prompts]
    longest = max(len(rest) for rest in rests)
    ids = torch.tensor([[pad] * (longest - len(rest)) + rest for rest in rests], device=device)
    gaps = torch.tensor([[0] * (longest - len(rest)) + [1] * len(rest) for rest in rests], device=device)
    mask = torch.cat([gaps.new_ones(len(rests), prefix), gaps], dim=1)
    cache = _read_once(model, prompts[0][:prefix], len(rests), device) if prefix else None
    draws = torch.Generator(device=device).manual_seed(sampling.seed or 0)
    used = torch.zeros(len(rests), int(model.get_output_embeddings().weight.shape[0]), dtype=torch.bool, device=device)
    for _ in range(sum(max(writings, key=lambda w: sum(w.rooms)).rooms) + sum(map(len, writings[0].bridges)) + 2):
        positions = (mask.cumsum(1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        out = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1,
            **({} if cache is None else {str(cache_name(model)): cache}),
        )  # fmt: skip
        cache = cache_of(out)
        logits = out.logits[:, -1].float().masked_fill(banned, float("-inf"))
        chosen = _choose(logits, used, sampling, draws)
        closed = ends[chosen].tolist()
        free = [not w.forced and not w.done for w in writings]
        taken = [w.take(token, end) for w, token, end in zip(writings, chosen.tolist(), closed, strict=True)]
        ids = torch.tensor(taken, device=device)[:, None]
        used.scatter_(1, ids, used.gather(1, ids) | torch.tensor(free, device=device)[:, None])
        mask = torch.cat([mask, mask.new_ones(len(taken), 1)], dim=1)
        if all(w.done for w in writings):
            return


def _read_once(model: Any, prefix: Sequence[int], count: int, device: Any) -> Any:
    """The key/value cache of the shared beginning, for each question of the batch."""
    out = model(input_ids=torch.tensor([list(prefix)], device=device), use_cache=True, logits_to_keep=1)
    cache = copy.deepcopy(cache_of(out))
    cache.batch_repeat_interleave(count)
    return cache


def _choose(logits: Tensor, used: Tensor, sampling: Sampling, draws: torch.Generator) -> Tensor:
    """(B,) next tokens from (B, V) logits."""
    less = torch.where(logits > 0, logits / PENALTY, logits * PENALTY)
    logits = torch.where(used[:, : logits.shape[1]], less, logits)
    if not sampling.temperature:
        return logits.argmax(-1)
    share = torch.softmax(logits / sampling.temperature, -1)
    if sampling.top_p is not None:
        ordered, places = share.sort(descending=True)
        beyond = ordered.cumsum(-1) - ordered >= sampling.top_p
        share = torch.zeros_like(share).scatter(1, places, ordered.masked_fill(beyond, 0.0))
    return torch.multinomial(share, 1, generator=draws)[:, 0]
