"""Vectors in front of the keys and values of a frozen language model's attention, layer by layer, its code untouched.

RA-Rec (arXiv 2402.04527v2, section 3.3) lets every layer attend to extra vectors ``d``: ``K = W_k [d; h]``,
``V = W_v [d; h]`` with the layer's own frozen projections, while queries come from the text ``h`` alone. Here the
layer's attention is asked to read ``d`` as if it were text, and the keys and values that it attends with are recorded:
grouped heads, normalised keys, biases, fused matrices and rotary positions are then the model's own. During the real
pass the recorded pair is put in front of each layer's, and its mask is widened (see :mod:`interlingua.lm.attention`).

Positions: the text keeps the places 0, 1, 2, ... that it has without a prompt. In a model with rotary positions the
prompt stands right before it (-P to -1), or has no position (``place = "none"``: keys are not rotated). Where positions
are learned and added to the input (OPT, GPT-2, BERT) the prompt has none, as in the paper's formula.

Shape key: B rows, T tokens, P prompt vectors, N layers, H width of a layer, G key/value heads, E width of a head.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from interlingua.errors import ConfigError
from interlingua.lm.attention import Attend, attending, is_eager
from interlingua.lm.models import LanguageModel

Place = Literal["before", "none"]
Pair = tuple[Tensor, Tensor]
"""keys and values of one layer's prompt, (B, G, P, E) each"""


class _Record:
    """Records the keys and values of a layer, and computes no attention."""

    masked = True
    pair: Pair

    def __call__(
        self, plain: Attend, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, options: Any
    ) -> tuple[Tensor, None]:
        self.pair = key, value
        return query.new_zeros(len(query), query.shape[2], query.shape[1], value.shape[-1]), None


class _Prepend:
    """Puts each layer's pair in front of the text's keys and values, and columns for it in front of the mask."""

    masked = True

    def __init__(self, pairs: Mapping[int, Pair], visible: Tensor | None, eager: bool) -> None:
        """``pairs``: the identity of a layer's attention -> its pair."""
        self.pairs, self.visible, self.eager = pairs, visible, eager

    def __call__(
        self, plain: Attend, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, options: Any
    ) -> tuple[Tensor, Any]:
        pair = self.pairs.get(id(module))
        if pair is None:
            return plain(module, query, key, value, mask, **options)
        said = options.pop("is_causal", None)
        mask = _widened(
            mask, query, pair[0].shape[2], self.visible, causal=_causal(module) if said is None else bool(said),
            eager=self.eager,
        )  # fmt: skip
        keys, values = torch.cat([pair[0].to(key), key], 2), torch.cat([pair[1].to(value), value], 2)
        return plain(module, query, keys, values, mask, is_causal=False, **options)


def _causal(module: Any) -> bool:
    """The default of transformers' attention for a layer without this setting."""
    return bool(getattr(module, "is_causal", True))


@dataclass(frozen=True)
class Survey:
    """Shapes of a model's layers and the scale of their inputs, which a prompt must fit."""

    width: int
    """H (for OPT-350m not the width of the input embeddings)"""
    heads: int
    """G"""
    head_width: int
    """E"""
    scales: Tensor
    """(N,) root mean square of the input of each layer's attention"""
    pair_scales: Tensor
    """(N,) the same for its keys and values"""


@torch.no_grad()
def survey(lm: LanguageModel, ids: Tensor, mask: Tensor) -> Survey:
    """Runs some texts and measures the inputs of every attention.

    Args:
        lm: the model.
        ids: (B, T) tokens.
        mask: (B, T) 1 at tokens.
    """
    seen: list[Tensor] = []

    def look(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    handles = [module.register_forward_pre_hook(look, with_kwargs=True) for module in lm.attentions]
    try:
        embeds = lm.embed(ids)
        lm.forward(embeds, mask.to(embeds.device))
    finally:
        for handle in handles:
            handle.remove()
    real = mask.bool().to(embeds.device)
    read = [states[real].float() for states in seen]
    pairs = project(lm, {layer: states[None].to(lm.dtype) for layer, states in enumerate(read)})
    scales = [states.square().mean().sqrt() for states in read]
    pair_scales = [torch.cat([k.flatten(), v.flatten()]).float().square().mean().sqrt() for k, v in pairs.values()]
    keys = pairs[0][0]
    return Survey(
        int(read[0].shape[1]), int(keys.shape[1]), int(keys.shape[3]), torch.stack(scales).cpu(),
        torch.stack(pair_scales).cpu(),
    )  # fmt: skip


def embedding_scale(lm: LanguageModel, ids: Tensor, mask: Tensor) -> Tensor:
    """() root mean square of the input embeddings of (B, T) tokens with their mask."""
    embeds = lm.embed(ids)
    return embeds[mask.bool().to(embeds.device)].float().square().mean().sqrt().cpu()


def project(
    lm: LanguageModel, vectors: Mapping[int, Tensor], place: Place = "before", behind: int = 0
) -> dict[int, Pair]:
    """The frozen projections of each layer applied to its prompt.

    Args:
        lm: the model.
        vectors: layer -> (B, P, H) what its attention reads as if it were (normalised) text.
        place: see the module's docstring.
        behind: prompt vectors that will stand between these and the text.

    Returns:
        layer -> keys and values, (B, G, P, E) each, as the layer itself would keep them.
    """
    layers = lm.attentions
    rotary: dict[tuple[str | None, int], Pair] = {}
    out: dict[int, Pair] = {}
    for layer, given in vectors.items():
        module: Any = layers[layer]
        record, read = _Record(), given.to(lm.dtype)
        takes = inspect.signature(module.forward).parameters
        options: dict[str, Any] = {"attention_mask": None} if "attention_mask" in takes else {}
        if "position_embeddings" in takes:
            kind = _kind(lm, module, layer)
            if (kind, read.shape[1]) not in rotary:
                rotary[kind, read.shape[1]] = _angles(lm, read, place, kind, behind)
            options["position_embeddings"] = rotary[kind, read.shape[1]]
        with attending(record):
            module(read, **options)
        out[layer] = record.pair
    return out


def _kind(lm: LanguageModel, module: nn.Module, layer: int) -> str | None:
    """Gemma 3 turns local and global layers by different angles."""
    own = getattr(module, "layer_type", None)
    kinds = getattr(lm.config, "layer_types", None)
    return str(own) if own is not None else str(kinds[layer]) if kinds else None


def _angles(lm: LanguageModel, like: Tensor, place: Place, kind: str | None, behind: int) -> Pair:
    """Cosines and sines of the prompt's positions; for no position those of place 0, which turn nothing."""
    rotary: Any = lm.decoder.rotary_emb
    count = like.shape[1]
    positions = torch.arange(-count - behind, -behind, device=like.device)[None]
    if place == "none":
        positions = torch.zeros_like(positions)
    takes_kind = "layer_type" in inspect.signature(rotary.forward).parameters
    found: Pair = rotary(like, positions, kind) if takes_kind else rotary(like, positions)
    return found


@contextmanager
def prompted(lm: LanguageModel, pairs: Mapping[int, Pair], visible: Tensor | None = None) -> Iterator[None]:
    """While open, every forward pass of ``lm`` attends to the pairs. Without a cache of its own (``use_cache=False``).

    Args:
        lm: the model; its weights and code stay as they are.
        pairs: layer -> keys and values, (B, G, P, E) each; layers may be left out.
        visible: (B, P) False where a prompt vector must not be seen; None: all are.
    """
    layers = lm.attentions
    own = {id(layers[layer]): pair for layer, pair in pairs.items()}
    with attending(_Prepend(own, visible, is_eager(lm.config))):
        yield


def _widened(
    mask: Tensor | None, query: Tensor, count: int, visible: Tensor | None, *, causal: bool, eager: bool
) -> Tensor | None:
    """The layer's mask with ``count`` columns in front. ``mask``: (B or 1, 1, T, T), boolean or added; None: plain."""
    batch, length = query.shape[0], query.shape[2]
    if mask is None:
        if not causal and visible is None:
            return None
        mask = torch.ones(1, 1, length, length, dtype=torch.bool, device=query.device)
        mask = mask.tril() if causal else mask
        if eager:
            mask = _added(mask, query)
    if mask.dim() != 4:
        raise ConfigError("key/value prompts need sdpa or eager attention (this model was loaded with another)")
    columns = torch.ones(batch, 1, 1, count, dtype=torch.bool, device=mask.device)
    if visible is not None:
        columns = visible.to(mask.device)[:, None, None, :]
    columns = columns.expand(batch, 1, length, count)
    before = columns if mask.dtype == torch.bool else _added(columns, mask)
    return torch.cat([before, mask.expand(batch, -1, -1, -1)], 3)


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A boolean mask as numbers that eager attention adds."""
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(~mask, torch.finfo(like.dtype).min)
