"""Prompts of different lengths joined to one sequence without padding, and attention that stays within each.

Several continuations may follow one prompt: each is a stretch that sees the prompt and itself, so the prompt is read
once however many there are, and each continuation's states are those that it would have alone.

On a CPU this is where a training step through a frozen model can be made cheaper without changing what it computes:
the products of a layer run over real tokens only, and attention, of which PyTorch's own kernel skips nothing in its
backward pass on CPUs, runs block by block of queries up to the diagonal, in the forward and in the backward pass.

Shape key: N tokens of all prompts, S prompts, H input width, A heads, G key/value heads, E width of a head, n places.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interlingua.errors import ConfigError
from interlingua.lm import padding as causal
from interlingua.lm.attention import Attend, attached, attending
from interlingua.lm.models import LanguageModel

BLOCK = 64
"""queries of a block; the fastest size of 32 to 128 on an EPYC core for heads of 64"""
KEPT_BYTES = 1 << 30
"""most bytes of attention weights kept for the backward pass; larger ones are computed again"""
UNDERSTOOD = frozenset(
    {"scaling", "dropout", "is_causal", "position_ids", "use_cache", "cache_position", "sliding_window", "layer_idx"}
)
"""what a layer may ask of attention; a window is only asked for where no prompt is longer (see the abilities)"""


@dataclass(frozen=True)
class Stretch:
    """Tokens that lie together and see each other causally, and the one earlier stretch that they see whole."""

    start: int
    stop: int
    sees: tuple[int, int] | None = None
    """first and last + 1 token of what comes before it elsewhere"""

    @property
    def blocks(self) -> Iterator[Block]:
        """Blocks of queries with the keys that they see."""
        for low in range(self.start, self.stop, BLOCK):
            high = min(low + BLOCK, self.stop)
            own = (self.start, high)
            yield low, high, (own,) if self.sees is None else (self.sees, own)


Block = tuple[int, int, tuple[tuple[int, int], ...]]
"""first and last + 1 query, and the ranges of keys that they see, of which the last ``high - low`` causally"""


def in_a_row(lengths: Sequence[int]) -> tuple[Stretch, ...]:
    """Prompts one after the other that see nothing of each other."""
    stops = list(itertools.accumulate(lengths))
    return tuple(Stretch(stop - length, stop) for stop, length in zip(stops, lengths, strict=True))


def can_pack(lm: LanguageModel, embeds: Tensor) -> bool:
    """Whether :func:`packed_states` computes what the model itself would, and is worth it: on a CPU, with gradients.

    Without gradients PyTorch's kernel does as well.
    """
    learns = torch.is_grad_enabled() and embeds.requires_grad
    return learns and lm.device.type == "cpu" and embeds.shape[1] <= lm.abilities.packed


def packed_states(lm: LanguageModel, embeds: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden states of prompts without computing anything for padding. Differentiable.

    Args:
        lm: a model that :func:`can_pack`.
        embeds: (S, T, H) input embeddings that require a gradient.
        mask: (S, T) 1 at tokens, 0 at padding, anywhere.

    Returns:
        (N, H') states of the tokens, prompt after prompt, and (S,) the place of each prompt's first one.
    """
    tokens = mask.to(embeds.device).bool()
    sizes = tokens.sum(1)
    starts = sizes.cumsum(0) - sizes
    positions = torch.arange(int(sizes.sum()), device=embeds.device) - starts.repeat_interleave(sizes)
    return stretched_states(lm, embeds[tokens], positions, in_a_row(sizes.tolist())), starts


def stretched_states(lm: LanguageModel, embeds: Tensor, positions: Tensor, stretches: Sequence[Stretch]) -> Tensor:
    """(N, H') states of tokens that lie in stretches one after the other. Differentiable.

    Args:
        lm: a model that :func:`can_pack`.
        embeds: (N, H) input embeddings that require a gradient.
        positions: (N,) each token's place in what it continues.
        stretches: who sees what; together they cover all tokens.
    """
    if not attached(lm.config):
        raise ConfigError(f"{lm.name}: its attention cannot be exchanged, so prompts are not packed")
    with attending(_Packed(lm, stretches)):
        return lm.forward(embeds[None], positions=positions[None]).states[0]


def states_at(lm: LanguageModel, embeds: Tensor, mask: Tensor, indices: Tensor, places: Tensor) -> Tensor:
    """(n, H') states of chosen tokens, with gradients to ``embeds``, packed where that is possible.

    Args:
        lm: the model.
        embeds: (S, T, H) prompts, padded on either side.
        mask: (S, T).
        indices: (n,) prompt of each chosen token.
        places: (n,) its place in the prompt, padding not counted.
    """
    if can_pack(lm, embeds):
        states, starts = packed_states(lm, embeds, mask)
        return states[starts[indices] + places]
    embeds, mask = causal.to_front(embeds, mask)
    return lm.forward(embeds[:, : int(mask.sum(1).max())]).states[indices, places]


def prompt_states(lm: LanguageModel, embeds: Tensor, mask: Tensor) -> Tensor:
    """(S, H') the state at each prompt's last token, with gradients to ``embeds``, packed where that is possible."""
    if not can_pack(lm, embeds):
        return causal.prompt_states(lm, embeds, mask)
    states, starts = packed_states(lm, embeds, mask)
    return states[starts + mask.to(states.device).long().sum(1) - 1]


class _Packed:
    """Attention within each of several sequences that lie one after the other (see :func:`attending`)."""

    masked = False

    def __init__(self, lm: LanguageModel, stretches: Sequence[Stretch]) -> None:
        heads, layers = int(lm.config.num_attention_heads), lm.num_layers
        weights = sum((high - low) * _width(ranges) for each in stretches for low, high, ranges in each.blocks)
        self.stretches, self.keep = tuple(stretches), layers * heads * weights * lm.dtype.itemsize <= KEPT_BYTES

    def __call__(
        self, plain: Attend, module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, options: Any
    ) -> tuple[Tensor, None]:
        """(1, A, N, E), (1, G, N, E) -> (1, N, A, E)."""
        more = sorted(
            name for name, given in options.items() if not (given is None or given is False) and name not in UNDERSTOOD
        )
        if more:  # soft caps, sinks, biases
            raise ConfigError(f"attention of {type(module).__name__} wants {', '.join(more)}: not packed")
        scaling = options.get("scaling")
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        mixed = CausalBlocks.apply(query[0], key[0], value[0], self.stretches, scale, self.keep)
        return mixed.transpose(0, 1)[None], None


class CausalBlocks(torch.autograd.Function):
    """Causal attention within each of several stretches that lie one after the other."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, stretches: Sequence[Stretch], scale: float, keep: bool
    ) -> Tensor:
        """(A, N, E) of queries (A, N, E), keys and values (G, N, E); A is a multiple of G."""
        heads, total, width = query.shape
        groups = key.shape[0]
        queries = (query * scale).view(groups, heads // groups, total, width)
        key, value = key.contiguous(), value.contiguous()
        out = query.new_empty(groups, heads // groups, total, width)
        weights: list[Tensor] = []
        for low, high, ranges in _blocks(stretches):
            part = _weights(queries, _taken(key, ranges), low, high)
            mixed = torch.bmm(part, _taken(value, ranges))
            out[:, :, low:high] = mixed.view(groups, -1, high - low, width)
            if keep:
                weights.append(part)
        ctx.save_for_backward(queries, key, value, out, *weights)
        ctx.stretches, ctx.scale = tuple(stretches), scale
        return out.view(heads, total, width)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of queries, keys and values."""
        queries, key, value, out, *weights = ctx.saved_tensors
        groups, repeats, total, width = queries.shape
        grad = grads[0].reshape(groups, repeats, total, width)
        offset = (grad * out).sum(-1, keepdim=True)
        to_query = torch.empty_like(queries)
        to_key, to_value = torch.zeros_like(key), torch.zeros_like(value)
        for number, (low, high, ranges) in enumerate(_blocks(ctx.stretches)):
            keys = _taken(key, ranges)
            part = weights[number] if weights else _weights(queries, keys, low, high)
            slope_out = grad[:, :, low:high].reshape(groups, -1, width)
            _add_product(to_value, ranges, part, slope_out)
            slope = torch.bmm(slope_out, _taken(value, ranges).transpose(1, 2))
            slope.sub_(offset[:, :, low:high].reshape(groups, -1, 1)).mul_(part)
            to_query[:, :, low:high] = torch.bmm(slope, keys).view(groups, repeats, -1, width)
            _add_product(to_key, ranges, slope, queries[:, :, low:high].reshape(groups, -1, width))
        return to_query.mul_(ctx.scale).view(-1, total, width), to_key, to_value, None, None, None


def _blocks(stretches: Sequence[Stretch]) -> Iterator[Block]:
    return itertools.chain.from_iterable(each.blocks for each in stretches)


def _width(ranges: Sequence[tuple[int, int]]) -> int:
    return sum(stop - start for start, stop in ranges)


def _taken(values: Tensor, ranges: Sequence[tuple[int, int]]) -> Tensor:
    """(G, K, E) the given ranges of (G, N, E): a view where there is one range."""
    parts = [values[:, start:stop] for start, stop in ranges]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _add_product(total: Tensor, ranges: Sequence[tuple[int, int]], part: Tensor, values: Tensor) -> None:
    """Adds the product of (G, Q, K) transposed and (G, Q, E) to the given ranges of (G, N, E)."""
    at = 0
    for start, stop in ranges:
        size = stop - start
        total[:, start:stop].baddbmm_(part[:, :, at : at + size].transpose(1, 2), values)
        at += size


def _weights(queries: Tensor, keys: Tensor, low: int, high: int) -> Tensor:
    """(G, A / G * queries, K) softmax over the keys, of which the last ``high - low`` are the queries' own."""
    groups, size = queries.shape[0], high - low
    asking = queries[:, :, low:high].reshape(groups, -1, queries.shape[-1])
    logits = torch.bmm(asking, keys.transpose(1, 2))
    ahead = torch.ones(size, size, dtype=torch.bool, device=keys.device).triu(1)
    logits.view(groups, -1, size, keys.shape[1])[..., keys.shape[1] - size :].masked_fill_(ahead, -torch.inf)
    return torch.softmax(logits, -1, out=logits)  # inside an autograd function: nothing is recorded
