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

from interlingua.clients.completion import Sampling
from interlingua.lm.cache_argument import cache_name, cache_of, takes

PENALTY = 1.15
"""logits of tokens that the answer has already are divided by it (multiplied where negative; Keskar et al. 2019):
models of this size repeat themselves without it. The prompt's tokens are not penalised."""


@dataclass
class Writing:
    """One unfinished answer."""

    rooms: list[int]
    """most tokens of each field"""
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
    cache_limit: int = 1 << 30,
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
        cache_limit: tokens up to which the model's key/value cache gives the numbers of a plain pass.
    """
    device = model.get_input_embeddings().weight.device
    rooms = max(sum(w.rooms) for w in writings) + sum(map(len, writings[0].bridges)) + 2
    whole = max(map(len, prompts)) + rooms
    reading = _Cached(model, prompts, pad) if whole <= cache_limit else _Plain(model, prompts, pad)
    draws = torch.Generator(device=device).manual_seed(sampling.seed or 0)
    used = torch.zeros(
        len(prompts), int(model.get_output_embeddings().weight.shape[0]), dtype=torch.bool, device=device
    )
    for _ in range(rooms):
        logits = reading.logits().float().masked_fill(banned, float("-inf"))
        chosen = _choose(logits, used, sampling, draws)
        closed = ends[chosen].tolist()
        free = [not w.forced and not w.done for w in writings]
        taken = [w.take(token, end) for w, token, end in zip(writings, chosen.tolist(), closed, strict=True)]
        ids = torch.tensor(taken, device=device)[:, None]
        used.scatter_(1, ids, used.gather(1, ids) | torch.tensor(free, device=device)[:, None])
        if all(w.done for w in writings):
            return
        reading.add(ids)


class _Cached:
    """Questions padded on the left behind their shared beginning, which is read once."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], pad: int) -> None:
        self._model, self._name, device = model, cache_name(model), model.get_input_embeddings().weight.device
        prefix = shared_prefix(prompts) if len(prompts) > 1 else 0
        rests = [list(ids[prefix:]) for ids in prompts]
        longest = max(len(rest) for rest in rests)
        self._ids = torch.tensor([[pad] * (longest - len(rest)) + rest for rest in rests], device=device)
        gaps = torch.tensor([[0] * (longest - len(rest)) + [1] * len(rest) for rest in rests], device=device)
        self._mask = torch.cat([gaps.new_ones(len(rests), prefix), gaps], dim=1)
        self._cache: Any = None
        if prefix:
            first = torch.tensor([list(prompts[0][:prefix])], device=device)
            self._cache = copy.deepcopy(cache_of(model(input_ids=first, use_cache=True, logits_to_keep=1)))
            self._cache.batch_repeat_interleave(len(prompts))

    def logits(self) -> Tensor:
        """(B, V) of the next token; asked once after every :meth:`add`."""
        options = {} if self._cache is None else {str(self._name): self._cache}
        positions = (self._mask.cumsum(1) - 1).clamp_min(0)[:, -self._ids.shape[1] :]
        places = {"position_ids": positions} if takes(self._model, "position_ids") else {}
        out = self._model(
            input_ids=self._ids, attention_mask=self._mask, use_cache=True, logits_to_keep=1, **places, **options
        )
        self._cache = cache_of(out)
        logits: Tensor = out.logits[:, -1]
        return logits

    def add(self, ids: Tensor) -> None:
        """(B, 1) tokens that come next."""
        self._ids = ids
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(ids), 1)], dim=1)


class _Plain:
    """Every question read as a whole for every token: for models whose cache does not give the same numbers."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], pad: int) -> None:
        self._model, self._prompts, self._pad = model, [list(ids) for ids in prompts], pad

    def logits(self) -> Tensor:
        """(B, V) of the next token."""
        device = self._model.get_input_embeddings().weight.device
        longest = max(map(len, self._prompts))
        ids = torch.tensor([row + [self._pad] * (longest - len(row)) for row in self._prompts], device=device)
        ends = torch.tensor([len(row) - 1 for row in self._prompts], device=device)
        out = self._model(input_ids=ids, use_cache=False)
        logits: Tensor = out.logits[torch.arange(len(ends), device=device), ends]
        return logits

    def add(self, ids: Tensor) -> None:
        """(B, 1) tokens that come next."""
        for row, (token,) in zip(self._prompts, ids.tolist(), strict=True):
            row.append(token)


def _choose(logits: Tensor, used: Tensor, sampling: Sampling, draws: torch.Generator) -> Tensor:
    """(B,) next tokens from (B, V) logits."""
    less = torch.where(logits > 0, logits / PENALTY, logits * PENALTY)
    logits = torch.where(used[:, : logits.shape[1]], less, logits)
    if not sampling.temperature:
        return logits.argmax(-1)
    chances = torch.softmax(logits / sampling.temperature, -1)
    if sampling.top_p is not None:
        ordered, places = chances.sort(descending=True)
        beyond = ordered.cumsum(-1) - ordered >= sampling.top_p
        chances = torch.zeros_like(chances).scatter(1, places, ordered.masked_fill(beyond, 0.0))
    return torch.multinomial(chances, 1, generator=draws)[:, 0]
