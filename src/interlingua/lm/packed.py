"""Prompts of different lengths joined to one sequence without padding, and attention that stays within each.

On a CPU this is where a training step through a frozen model can be made cheaper without changing what it computes:
the products of a layer run over real tokens only, and attention, of which PyTorch's own kernel skips nothing in its
backward pass on CPUs, runs block by block of queries up to the diagonal, in the forward and in the backward pass.

Shape key: N tokens of all prompts, S prompts, H input width, A heads, G key/value heads, E width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    if not attached(lm.config):
        raise ConfigError(f"{lm.name}: its attention cannot be exchanged, so prompts are not packed")
    tokens = mask.to(embeds.device).bool()
    sizes = tokens.sum(1)
    starts = sizes.cumsum(0) - sizes
    lengths = tuple(int(size) for size in sizes)
    positions = torch.arange(sum(lengths), device=embeds.device) - starts.repeat_interleave(sizes)
    with attending(_Packed(lm, lengths)):
        states = lm.forward(embeds[tokens][None], positions=positions[None]).states[0]
    return states, starts


def prompt_states(lm: LanguageModel, embeds: Tensor, mask: Tensor) -> Tensor:
    """(S, H') the state at each prompt's last token, with gradients to ``embeds``, packed where that is possible."""
    if not can_pack(lm, embeds):
        return causal.prompt_states(lm, embeds, mask)
    states, starts = packed_states(lm, embeds, mask)
    return states[starts + mask.to(states.device).long().sum(1) - 1]


class _Packed:
    """Attention within each of several sequences that lie one after the other (see :func:`attending`)."""

    masked = False

    def __init__(self, lm: LanguageModel, lengths: Sequence[int]) -> None:
        heads, layers = int(lm.config.num_attention_heads), lm.num_layers
        size = layers * heads * sum(length * (length + BLOCK) for length in lengths) // 2 * lm.dtype.itemsize
        self.lengths, self.keep = tuple(lengths), size <= KEPT_BYTES

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
        mixed = CausalBlocks.apply(query[0], key[0], value[0], self.lengths, scale, self.keep)
        return mixed.transpose(0, 1)[None], None


class CausalBlocks(torch.autograd.Function):
    """Causal attention within each of several sequences that lie one after the other."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], scale: float, keep: bool
    ) -> Tensor:
        """(A, N, E) of queries (A, N, E), keys and values (G, N, E); A is a multiple of G."""
        heads, total, width = query.shape
        groups = key.shape[0]
        queries = (query * scale).view(groups, heads // groups, total, width)
        key, value = key.contiguous(), value.contiguous()
        out = query.new_empty(groups, heads // groups, total, width)
        weights: list[Tensor] = []
        for start, low, high in blocks(lengths):
            part = _weights(queries, key, start, low, high)
            mixed = torch.bmm(part, value[:, start:high])
            out[:, :, low:high] = mixed.view(groups, -1, high - low, width)
            if keep:
                weights.append(part)
        ctx.save_for_backward(queries, key, value, out, *weights)
        ctx.lengths, ctx.scale = tuple(lengths), scale
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
        for number, (start, low, high) in enumerate(blocks(ctx.lengths)):
            part = weights[number] if weights else _weights(queries, key, start, low, high)
            slope_out = grad[:, :, low:high].reshape(groups, -1, width)
            to_value[:, start:high].baddbmm_(part.transpose(1, 2), slope_out)
            slope = torch.bmm(slope_out, value[:, start:high].transpose(1, 2))
            slope.sub_(offset[:, :, low:high].reshape(groups, -1, 1)).mul_(part)
            to_query[:, :, low:high] = torch.bmm(slope, key[:, start:high]).view(groups, repeats, -1, width)
            to_key[:, start:high].baddbmm_(slope.transpose(1, 2), queries[:, :, low:high].reshape(groups, -1, width))
        return to_query.mul_(ctx.scale).view(-1, total, width), to_key, to_value, None, None, None


def blocks(lengths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(first token of the sequence, first and last + 1 query of the block) for every block of every sequence."""
    start = 0
    for length in lengths:
        for low in range(start, start + length, BLOCK):
            yield start, low, min(low + BLOCK, start + length)
        start += length


def _weights(queries: Tensor, key: Tensor, start: int, low: int, high: int) -> Tensor:
    """(G, A / G * queries, high - start) softmax over the keys up to each query's own."""
    groups, size = queries.shape[0], high - low
    asking = queries[:, :, low:high].reshape(groups, -1, queries.shape[-1])
    logits = torch.bmm(asking, key[:, start:high].transpose(1, 2))
    ahead = torch.ones(size, size, dtype=torch.bool, device=key.device).triu(1)
    logits.view(groups, -1, size, high - start)[..., low - start :].masked_fill_(ahead, -torch.inf)
    return torch.softmax(logits, -1, out=logits)  # inside an autograd function: nothing is recorded
