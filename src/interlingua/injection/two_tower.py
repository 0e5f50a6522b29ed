"""One frozen language model as both towers of a retriever: texts (with prompts) in, one state per text out.

Shape key: B texts, T tokens, H input width, H' width of a state, N layers, P prompt vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from interlingua.data.queries import IntArray
from interlingua.injection.hard_prompt import padded
from interlingua.injection.remembered import Remembered
from interlingua.lm.models import LanguageModel
from interlingua.lm.padding import last_states
from interlingua.lm.prefix_attention import Pair, prompted
from interlingua.progress import track

Pooling = Literal["last", "cls", "mean"]
AT_ONCE = 32
"""texts that the model reads at once when nothing learns"""


def pooled(states: Tensor, mask: Tensor, how: Pooling) -> Tensor:
    """(B, H') one state per text.

    Args:
        states: (B, T, H').
        mask: (B, T) 1 at the text's tokens, either padding side.
        how: the last token (decoders), the first (``cls``: encoders), or the mean over tokens.
    """
    mask = mask.to(states.device)
    if how == "last":
        return last_states(states, mask)
    if how == "cls":
        return states[torch.arange(len(states), device=states.device), mask.argmax(1)]
    weights = mask.to(states.dtype)[..., None]
    return (states * weights).sum(1) / weights.sum(1).clamp_min(1.0)


def read(
    lm: LanguageModel,
    ids: Tensor,
    mask: Tensor,
    how: Pooling,
    *,
    pairs: Mapping[int, Pair] | None = None,
    soft: Tensor | None = None,
    visible: Tensor | None = None,
) -> Tensor:
    """(B, H') the texts' states; gradients flow to ``pairs`` and ``soft``.

    Args:
        lm: the model.
        ids: (B, T) tokens.
        mask: (B, T) 1 at tokens, 0 at padding; right-padded where ``soft`` is given.
        how: see :func:`pooled`.
        pairs: key/value prompts (see :mod:`interlingua.lm.prefix_attention`).
        soft: (B, P, H) input tokens in front of the text (behind a begin token, where the model sets one).
        visible: (B, P) False hides a key/value prompt's vector.
    """
    embeds = lm.embed(ids)
    mask = mask.to(embeds.device)
    at = 0
    full = mask
    if soft is not None:
        at = 0 if lm.bos_token_id is None else 1
        embeds = torch.cat([embeds[:, :at], soft.to(embeds), embeds[:, at:]], 1)
        full = torch.cat([mask[:, :at], mask.new_ones(soft.shape[:2]), mask[:, at:]], 1)
    with prompted(lm, pairs, visible) if pairs else nullcontext():
        states = lm.forward(embeds, full).states
    if soft is not None:
        states = torch.cat([states[:, :at], states[:, at + soft.shape[1] :]], 1)
    return pooled(states, mask, how).float()


@torch.no_grad()
def plain(lm: LanguageModel, ids: Tensor, mask: Tensor, how: Pooling) -> Tensor:
    """(B, N H + H') the text without a prompt: each layer's pooled output, then the state that :func:`read` gives."""
    out = lm.forward(lm.embed(ids), mask.to(lm.device), layers=True)
    return torch.cat([pooled(each, mask, how).float() for each in (*out.layers[1:], out.states)], 1)


def by_length(
    lists: Sequence[Sequence[int]],
    pad: int,
    run: Callable[[np.ndarray, Tensor, Tensor], Tensor],
    batch_size: int = AT_ONCE,
    label: str = "read texts",
) -> Tensor:
    """Runs token lists in batches of similar length and returns the results in the lists' order.

    Args:
        lists: token ids of each text.
        pad: id at padding.
        run: (which texts, ids, mask) -> (b, ...) results.
        batch_size: texts at once.
        label: of the progress.
    """
    order = np.argsort(np.fromiter((len(ids) for ids in lists), np.int64, len(lists)), kind="stable")
    parts = []
    for start in track(range(0, len(order), batch_size), label):
        chosen = order[start : start + batch_size]
        ids, mask = padded([lists[i] for i in chosen], pad)
        parts.append(run(chosen, ids, mask))
    joined = torch.cat(parts)
    out = torch.empty_like(joined)
    out[torch.as_tensor(order, device=joined.device)] = joined
    return out


class PlainStates:
    """What :func:`plain` says of each text, once: on a CPU alone, so that its bits do not depend on its company.

    Args:
        lm: the frozen model.
        pooling: see :func:`plain`.
    """

    def __init__(self, lm: Any, pooling: Pooling) -> None:
        self.lm, self.pooling = lm, pooling
        self._known = Remembered()

    def of(self, ids: Sequence[Sequence[int]], device: torch.device) -> Tensor:
        """(B, N H + H') of B texts."""
        keys = [tuple(each) for each in ids]
        batch_size = 1 if device.type == "cpu" else AT_ONCE

        def run(_: Any, each: Tensor, mask: Tensor) -> Tensor:
            return plain(self.lm, each, mask, self.pooling).cpu()

        def make(fresh: IntArray) -> Tensor:
            return by_length([keys[place] for place in fresh.tolist()], self.lm.pad_token_id, run, batch_size)

        return self._known.of(keys, make).to(device)
