"""Log-probabilities of many tokens for training, without logits for all of them at once.

A title is an answer of some ten tokens, and a history read as text has an answer at nearly every token: logits over a
vocabulary of 49,152 would be 200 KB a token, twice. Where the output matrix is frozen, the gradient that a
log-probability sends to its state depends on that state alone, so it is computed in the forward pass, block by block,
and the logits are given up at once. Nothing is computed twice.

Shape key: n tokens, H' width of a state.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from interlingua.lm.models import LanguageModel

BLOCK = 256
"""rows of logits held at a time: 50 MB for a vocabulary of 49,152"""


def token_log_likelihood(lm: LanguageModel, states: Tensor, tokens: Tensor) -> Tensor:
    """(n,) float32 log-probability of each token after its state. Differentiable.

    Args:
        lm: the model.
        states: (n, H') state before each token.
        tokens: (n,) token ids.
    """
    learns = any(each.requires_grad for each in lm.model.get_output_embeddings().parameters())  # type: ignore[operator]
    if learns or not (torch.is_grad_enabled() and states.requires_grad):
        pairs = zip(states.split(BLOCK), tokens.split(BLOCK), strict=True)
        parts = [_chosen(lm, some, ids) for some, ids in pairs]
        return torch.cat(parts) if parts else states.new_zeros(0, dtype=torch.float32)
    out: Tensor = _Frozen.apply(states, tokens, lm)
    return out


def _chosen(lm: LanguageModel, states: Tensor, tokens: Tensor) -> Tensor:
    logits = lm.logits(states)
    return logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)


class _Frozen(torch.autograd.Function):
    """Log-probabilities by an output matrix that does not learn."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, tokens: Tensor, lm: LanguageModel) -> Tensor:
        """(n, H'), (n,) -> (n,)."""
        out = states.new_empty(len(states), dtype=torch.float32)
        slopes = torch.empty_like(states)
        for low in range(0, len(states), BLOCK):
            with torch.enable_grad():
                some = states[low : low + BLOCK].detach().requires_grad_(True)
                found = _chosen(lm, some, tokens[low : low + BLOCK])
                (slopes[low : low + BLOCK],) = torch.autograd.grad(found.sum(), some)
            out[low : low + BLOCK] = found.detach()
        ctx.save_for_backward(slopes)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Each state's own slope, times what is asked for."""
        (slopes,) = ctx.saved_tensors
        return slopes * grads[0][:, None].to(slopes.dtype), None, None
